#pragma once

#include "coordinator/http/request_fields.h"
#include "mimo/v1/constraint.pb.h"
#include "mimo/v1/inference.pb.h"

namespace mimo::http {

// The fields that chat and completions have in common, OpenAI's and vLLM's. Bounds are the
// engine's to check; here, types are.
void read_sampling(Fields& fields, v1::Sampling* sampling);
void read_stopping(Fields& fields, v1::Stopping* stopping);
// response_format, guided_* and structured_outputs: at most one of them.
void read_constraint(Fields& fields, v1::Constraint* constraint);
// What a server of one language model does not do, and what it may pass over.
void read_rest(Fields& fields);

// How the reply goes out.
struct StreamFields {
  bool stream = false;
  bool include_usage = false;     // a last chunk with the usage
  bool continuous_usage = false;  // and with each chunk
};
void read_stream(Fields& fields, StreamFields* stream);

}  // namespace mimo::http
