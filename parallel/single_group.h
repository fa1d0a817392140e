#pragma once

#include <memory>

#include "parallel/tp_group.h"

namespace mimo::parallel {

// A group of one: every call is done before it starts. abort() holds here too.
std::unique_ptr<TpGroup> make_single_group();

}  // namespace mimo::parallel
