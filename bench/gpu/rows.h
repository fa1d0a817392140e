#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace mimo::bench {

// One field of a result's row, its value already as JSON.
struct Field {
  Field(std::string_view k, std::string_view v) : key(k), json('"' + std::string(v) + '"') {}
  Field(std::string_view k, const char* v) : Field(k, std::string_view(v)) {}
  Field(std::string_view k, const std::string& v) : Field(k, std::string_view(v)) {}
  template <typename N>
  requires std::is_integral_v<N> Field(std::string_view k, N v) : key(k), json(std::to_string(v)) {}
  Field(std::string_view k, double v);  // five digits

  std::string key;
  std::string json;
};

// Rows of one run, written as a JSON array. Every row begins with `common`.
class Rows {
 public:
  explicit Rows(std::vector<Field> common) : common_(std::move(common)) {}

  void add(std::initializer_list<Field> fields) { add(std::vector<Field>(fields)); }
  void add(const std::vector<Field>& fields);
  // Those of another run, as they are.
  void add_all(const Rows& other) {
    rows_.insert(rows_.end(), other.rows_.begin(), other.rows_.end());
  }
  // False when the file cannot be written. No file for an empty path.
  bool write(const std::string& path) const;

 private:
  std::vector<Field> common_;
  std::vector<std::string> rows_;
};

std::string today();  // 2026-11-22

}  // namespace mimo::bench
