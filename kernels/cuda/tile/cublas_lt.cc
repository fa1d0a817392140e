#include "kernels/cuda/tile/cublas_lt.h"

#include <string>

#include "base/check.h"

namespace mimo::kernels::cuda {
namespace {

// What NVIDIA advises for SM90.
constexpr int64_t kWorkspaceBytes = int64_t{32} << 20;
constexpr uint32_t kAlignment = 16;
// In the batch-invariant mode all numbers of rows take the algorithm for so many.
constexpr int32_t kInvariantRows = 4096;

// A refusal after start-up is our mistake, or the GPU broke.
void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    check_failed(__FILE__, __LINE__, what, cublasLtGetStatusString(status));
  }
}

}  // namespace

// cuBLASLt counts columns first: out^T [rows, M] = w [rows, cols] a^T, where w lies as the
// transpose of a [cols, rows] matrix.
struct CublasLt::Problem {
  explicit Problem(const Shape& shape) {
    const cudaDataType_t out_type = shape.out_f32 ? CUDA_R_32F : CUDA_R_16BF;
    check(cublasLtMatmulDescInit(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "product");
    const cublasOperation_t transpose = CUBLAS_OP_T;
    check(cublasLtMatmulDescSetAttribute(&product, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                         sizeof transpose),
          "transpose");
    const auto layout = [](cublasLtMatrixLayoutOpaque_t* to, cudaDataType_t type, int32_t rows,
                           int32_t cols, int32_t ld) {
      check(cublasLtMatrixLayoutInit(to, type, static_cast<uint64_t>(rows),
                                     static_cast<uint64_t>(cols), ld),
            "layout");
    };
    layout(&w, CUDA_R_16BF, shape.cols, shape.rows, shape.ld);
    layout(&a, CUDA_R_16BF, shape.cols, shape.num_rows, shape.cols);
    layout(&out, out_type, shape.rows, shape.num_rows, shape.rows);
  }

  cublasLtMatmulDescOpaque_t product;
  cublasLtMatrixLayoutOpaque_t w;
  cublasLtMatrixLayoutOpaque_t a;
  cublasLtMatrixLayoutOpaque_t out;
};

Result<std::unique_ptr<CublasLt>> CublasLt::create(DeviceContext& context) {
  cublasLtHandle_t handle = nullptr;
  const cublasStatus_t status = cublasLtCreate(&handle);
  if (status != CUBLAS_STATUS_SUCCESS) {
    return Error{Code::kFailedPrecondition, std::string("cublasLtCreate on device ") +
                                                std::to_string(context.device()) + ": " +
                                                cublasLtGetStatusString(status)};
  }
  Handle owned(handle);
  TRY_ASSIGN(void* const workspace, context.allocate(kWorkspaceBytes, Purpose::kWorkspace));
  return std::unique_ptr<CublasLt>(new CublasLt(context, std::move(owned), workspace));
}

cublasLtMatmulAlgo_t CublasLt::search(const Shape& shape, Problem& problem) const {
  cublasLtMatmulPreferenceOpaque_t preference;
  check(cublasLtMatmulPreferenceInit(&preference), "preference");
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t what, auto value) {
    check(cublasLtMatmulPreferenceSetAttribute(&preference, what, &value, sizeof value),
          "preference");
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kWorkspaceBytes));
  for (const auto pointer :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    set(pointer, kAlignment);
  }
  cublasLtMatmulHeuristicResult_t best;
  int found = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle_.get(), &problem.product, &problem.w, &problem.a,
                                     &problem.out, &problem.out, &preference, 1, &best, &found);
  if (status != CUBLAS_STATUS_SUCCESS || found == 0) {
    check_failed(__FILE__, __LINE__, "an algorithm of cuBLASLt",
                 "rows " + std::to_string(shape.num_rows) + ", weight " +
                     std::to_string(shape.rows) + " x " + std::to_string(shape.cols) + ": " +
                     cublasLtGetStatusString(status));
  }
  return best.algo;
}

void CublasLt::multiply(const void* a, const DeviceMatrix& w, void* out, bool out_f32,
                        int32_t num_rows) {
  CHECK(w.dtype == DType::kBf16 && w.count == 1);
  const Shape shape{num_rows, w.rows, w.cols, w.ld, out_f32};
  Shape searched = shape;
  if (context_.options().batch_invariant) searched.num_rows = kInvariantRows;
  auto at = algorithms_.find(searched);
  if (at == algorithms_.end()) {
    Problem wanted(searched);
    at = algorithms_.emplace(searched, search(searched, wanted)).first;
  }
  Problem problem(shape);
  const float one = 1;
  const float zero = 0;
  check(cublasLtMatmul(handle_.get(), &problem.product, &one, w.values, &problem.w, a, &problem.a,
                       &zero, out, &problem.out, out, &problem.out, &at->second, workspace_,
                       static_cast<size_t>(kWorkspaceBytes), context_.stream()),
        "cublasLtMatmul");
}

}  // namespace mimo::kernels::cuda
