# A file as a C++ function: cmake -DIN=page.html -DOUT=page.cc -P embed.cmake. In pieces, for
# compilers bound a literal's length.
file(READ ${IN} text HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${text}")
string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT} "#include \"coordinator/http/console_page.h\"

namespace mimo::http {
namespace {
constexpr unsigned char kBytes[] = {
${bytes}
};
}  // namespace

std::string_view console_html() {
  return {reinterpret_cast<const char*>(kBytes), sizeof kBytes};
}

}  // namespace mimo::http
")
