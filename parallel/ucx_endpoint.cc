#include "parallel/ucx_endpoint.h"

#include "parallel/ucx_worker.h"

namespace mimo::parallel {

UcxEndpoint::UcxEndpoint(std::unique_ptr<UcxWorker> worker, std::string address)
    : worker_(std::move(worker)), address_(std::move(address)) {}
UcxEndpoint::~UcxEndpoint() = default;

std::function<void()> UcxEndpoint::aborter() const {
  CHECK(worker_ != nullptr);  // before form()
  return [aborted = worker_->share_aborted()] { aborted->set(); };
}

Result<std::unique_ptr<UcxEndpoint>> UcxEndpoint::open(const Options& options) {
  TRY_ASSIGN(auto worker, UcxWorker::create(options));
  TRY_ASSIGN(auto address, worker->address());
  return std::unique_ptr<UcxEndpoint>(new UcxEndpoint(std::move(worker), std::move(address)));
}

}  // namespace mimo::parallel
