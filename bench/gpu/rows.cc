#include "bench/gpu/rows.h"

#include <cstdio>
#include <ctime>
#include <fstream>

namespace mimo::bench {
namespace {

std::string number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.5g", value);
  return text;
}

}  // namespace

Field::Field(std::string_view k, double v) : key(k), json(number(v)) {}

void Rows::add(const std::vector<Field>& fields) {
  std::string row = "{";
  for (const std::vector<Field>* part :
       std::initializer_list<const std::vector<Field>*>{&common_, &fields}) {
    for (const Field& field : *part) {
      if (row.size() > 1) row += ", ";
      row += '"' + field.key + "\": " + field.json;
    }
  }
  rows_.push_back(row + "}");
}

bool Rows::write(const std::string& path) const {
  if (path.empty()) return true;
  std::ofstream out(path);
  out << "[\n";
  for (size_t i = 0; i < rows_.size(); ++i) {
    out << "  " << rows_[i] << (i + 1 < rows_.size() ? ",\n" : "\n");
  }
  out << "]\n";
  return static_cast<bool>(out);
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

}  // namespace mimo::bench
