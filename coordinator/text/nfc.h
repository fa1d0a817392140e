#pragma once

#include <string>
#include <string_view>

namespace mimo::text {

// `utf8` (well-formed) in Unicode normalisation form C: `utf8` itself when it already is, else
// `*storage`, which is overwritten. O(n log n) for any text.
//
// Thread: any.
std::string_view to_nfc(std::string_view utf8, std::string* storage);

}  // namespace mimo::text
