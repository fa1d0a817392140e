#pragma once

#include <optional>

#include "base/result.h"
#include "coordinator/chat/conversation.h"
#include "coordinator/chat/reply_start.h"
#include "mimo/v1/chat.pb.h"

namespace mimo::chat {

// What the reply must be, thoughts included: the request's constraint, the calls that tool_choice
// asks for, strict tools, at most one call. Nothing where the reply is free. kInvalidArgument names
// the schema's keyword that cannot be held to.
Result<std::optional<v1::Constraint>> reply_constraint(const v1::ChatRequest& request,
                                                       const ToolSet& tools, ReplyStart start);

}  // namespace mimo::chat
