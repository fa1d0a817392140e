#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include "coordinator/sessions/request_error.h"

namespace mimo::coordinator {

// The stream's status: the error's code and message; its details (grpc-status-details-bin) hold the
// ErrorEvent and, when the error says when to come back, google.rpc.RetryInfo.
grpc::Status wire_status(const RequestError& error);

// The same time as gRPC's own retry reads it: the trailer grpc-retry-pushback-ms.
void add_pushback(const RequestError& error, grpc::ServerContextBase* context);

}  // namespace mimo::coordinator
