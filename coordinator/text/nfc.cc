#include "coordinator/text/nfc.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/check.h"
#include "coordinator/text/utf8.h"

namespace mimo::text {
namespace {

// Below this every code point stands alone in form C: nothing composes with it or moves across it.
constexpr char32_t kFirstUnstable = 0x300;
constexpr uint8_t kFirstUnstableLead = 0xcc;  // the lead byte of U+0300

// ICU orders the marks after a letter by insertion, which is quadratic in their number. Runs longer
// than this are put in order here first; no writing system comes near it.
constexpr int32_t kMarksMax = 64;

struct Mark {
  uint8_t combining_class;
  char32_t code_point;
};

const icu::Normalizer2& nfc() {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* normalizer = icu::Normalizer2::getNFCInstance(status);
  CHECK(U_SUCCESS(status));
  return *normalizer;
}

// Appends the marks that `c` is made of and answers true; false, and nothing appended, when a
// letter is among them.
bool append_marks(const icu::Normalizer2& normalizer, char32_t c, std::vector<Mark>* marks) {
  if (c < kFirstUnstable) return false;
  icu::UnicodeString parts;
  if (!normalizer.getDecomposition(static_cast<UChar32>(c), parts))
    parts.append(static_cast<UChar32>(c));
  if (normalizer.getCombiningClass(parts.char32At(0)) == 0) return false;
  for (int32_t i = 0; i < parts.length(); i = parts.moveIndex32(i, 1)) {
    const UChar32 part = parts.char32At(i);
    marks->push_back({normalizer.getCombiningClass(part), static_cast<char32_t>(part)});
  }
  return true;
}

bool may_be_mark(const icu::Normalizer2& normalizer, char32_t c) {
  return c >= kFirstUnstable && !normalizer.hasBoundaryBefore(static_cast<UChar32>(c));
}

bool has_long_run_of_marks(const icu::Normalizer2& normalizer, std::string_view utf8) {
  int32_t run = 0;
  for (size_t at = 0; at < utf8.size();) {
    run = may_be_mark(normalizer, next_code_point(utf8, &at)) ? run + 1 : 0;
    if (run > kMarksMax) return true;
  }
  return false;
}

// The same text for Unicode, every run of marks decomposed and in canonical order.
std::string order_marks(const icu::Normalizer2& normalizer, std::string_view utf8) {
  std::string out;
  out.reserve(utf8.size());
  std::vector<Mark> marks;
  const auto flush = [&] {
    std::stable_sort(marks.begin(), marks.end(), [](const Mark& a, const Mark& b) {
      return a.combining_class < b.combining_class;
    });
    for (const Mark& mark : marks) append_utf8(mark.code_point, &out);
    marks.clear();
  };
  for (size_t at = 0; at < utf8.size();) {
    const char32_t c = next_code_point(utf8, &at);
    if (append_marks(normalizer, c, &marks)) continue;
    flush();
    append_utf8(c, &out);
  }
  flush();
  return out;
}

}  // namespace

std::string_view to_nfc(std::string_view utf8, std::string* storage) {
  const auto unstable = [](char c) { return static_cast<uint8_t>(c) >= kFirstUnstableLead; };
  if (std::none_of(utf8.begin(), utf8.end(), unstable)) return utf8;
  const icu::Normalizer2& normalizer = nfc();
  std::string ordered;
  if (has_long_run_of_marks(normalizer, utf8)) {
    ordered = order_marks(normalizer, utf8);
    utf8 = ordered;
  }
  std::string normalised;
  normalised.reserve(utf8.size());
  icu::StringByteSink<std::string> sink(&normalised);
  UErrorCode status = U_ZERO_ERROR;
  normalizer.normalizeUTF8(0, icu::StringPiece(utf8.data(), static_cast<int32_t>(utf8.size())),
                           sink, nullptr, status);
  CHECK(U_SUCCESS(status));
  *storage = std::move(normalised);
  return *storage;
}

}  // namespace mimo::text
