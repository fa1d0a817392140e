#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "mimo/v1/chat.pb.h"

namespace mimo::cli {

// The functions of a JSON array, each as OpenAI's API has it, with or without {"type": "function"}
// around it.
Result<std::vector<v1::Tool>> read_tools(const std::string& path);

}  // namespace mimo::cli
