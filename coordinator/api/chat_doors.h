#pragma once

#include <cstdint>

#include "coordinator/chat/prompter.h"
#include "coordinator/text/tokenizer.h"

namespace mimo::coordinator {

// What conversations need beside the sessions. Both outlive the service.
struct ChatDoors {
  const chat::Prompter* prompter = nullptr;    // nullptr: conversations are refused
  const text::Tokenizer* tokenizer = nullptr;  // nullptr: ids only
  int64_t prompt_bytes_max = int64_t{8} << 20;
};

}  // namespace mimo::coordinator
