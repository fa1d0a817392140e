#pragma once

#include "coordinator/chat/prompter.h"
#include "coordinator/text/tokenizer.h"

namespace mimo::coordinator {

// What conversations need beside the sessions. Both outlive the service.
struct ChatDoors {
  const chat::Prompter* prompter = nullptr;    // nullptr: conversations are refused
  const text::Tokenizer* tokenizer = nullptr;  // nullptr: ids only
};

}  // namespace mimo::coordinator
