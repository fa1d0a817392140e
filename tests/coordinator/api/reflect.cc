// Lists the services that a server at argv[1] reflects, one a line. A program of its own: a process
// that links the reflecting server cannot also know this proto.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>

#include "reflection.grpc.pb.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  using namespace grpc::reflection::v1alpha;
  auto stub =
      ServerReflection::NewStub(grpc::CreateChannel(argv[1], grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  auto stream = stub->ServerReflectionInfo(&context);
  ServerReflectionRequest request;
  ServerReflectionResponse response;
  request.set_list_services("");
  if (!stream->Write(request) || !stream->Read(&response)) return 1;
  for (const auto& service : response.list_services_response().service())
    std::printf("%s\n", service.name().c_str());
  request.set_file_containing_symbol("mimo.v1.GenerateRequest");
  if (!stream->Write(request) || !stream->Read(&response)) return 1;
  std::printf("%d files\n", response.file_descriptor_response().file_descriptor_proto_size());
  stream->WritesDone();
  return stream->Finish().ok() ? 0 : 1;
}
