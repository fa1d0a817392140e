#pragma once

#include <string_view>

#include "coordinator/http/exchange.h"

namespace mimo::http {

// console/index.html as it was when this was built.
std::string_view console_html();

// It, for a browser, with a nonce of its own: nothing runs in it but what carries that nonce, it
// speaks to nobody but this server, and it stands in no frame.
HttpResponse console_page();

}  // namespace mimo::http
