#pragma once

#include <string_view>

#include "coordinator/http/exchange.h"

namespace mimo::http {

// console/index.html as it was when this was built.
std::string_view console_html();

// It, for a browser: it loads nothing from elsewhere and runs in no frame.
HttpResponse console_page();

}  // namespace mimo::http
