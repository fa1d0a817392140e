#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace mimo::http {

// An answer, taken apart.
struct Answer {
  int32_t status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // without its chunks
  bool whole = false;                          // its length or its last chunk has come
  nlohmann::json json() const { return nlohmann::json::parse(body); }
  // Of a stream: what stands behind each "data: ".
  std::vector<std::string> events() const;
};

// A client over one connection, that says and reads bytes. Every wait ends after 20 s.
class HttpClient {
 public:
  // receive_bytes > 0: the kernel takes about as much for a client that does not read.
  explicit HttpClient(const std::string& address, int32_t receive_bytes = 0);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // False when the server has closed.
  bool send(std::string_view bytes);
  void close();
  int fd() const { return fd_; }
  // No more from this side.
  void end();
  // The next answer; status 0 when the connection ends before it. `head_only`: of a HEAD.
  Answer read(bool head_only = false);
  // What has come by now and what comes until `text` is among it; false when it does not come.
  bool read_until(const std::string& text);
  const std::string& read_so_far() const { return buffer_; }
  // True when nothing but the end comes.
  bool at_end();

  Answer get(const std::string& path);
  Answer post(const std::string& path, const nlohmann::json& body, const std::string& more = "");
  static std::string post_text(const std::string& path, const std::string& body,
                               const std::string& more = "");

 private:
  bool receive();
  bool read_body(Answer* answer);

  int fd_ = -1;
  std::string buffer_;
  bool ended_ = false;
};

}  // namespace mimo::http
