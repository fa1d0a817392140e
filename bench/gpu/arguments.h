#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace mimo::bench {

// `--name value` pairs of a bench.
class Arguments {
 public:
  // Nothing, and a line on stderr, for a name that is not among `known` or has no value.
  static std::optional<Arguments> parse(int argc, char** argv, const std::set<std::string>& known) {
    Arguments out;
    for (int i = 1; i < argc; i += 2) {
      const std::string name = argv[i];
      if (name.rfind("--", 0) != 0 || known.count(name.substr(2)) == 0 || i + 1 == argc) {
        std::fprintf(stderr, "%s: expected one of", name.c_str());
        for (const std::string& each : known) std::fprintf(stderr, " --%s VALUE", each.c_str());
        std::fprintf(stderr, "\n");
        return std::nullopt;
      }
      out.values_[name.substr(2)] = argv[i + 1];
    }
    return out;
  }

  std::string text(const std::string& name, const std::string& otherwise) const {
    const auto found = values_.find(name);
    return found == values_.end() ? otherwise : found->second;
  }
  int32_t number(const std::string& name, int32_t otherwise) const {
    return numbers(name, {otherwise}).front();
  }
  // "1,16,64"
  std::vector<int32_t> numbers(const std::string& name,
                               const std::vector<int32_t>& otherwise) const {
    const auto found = values_.find(name);
    if (found == values_.end()) return otherwise;
    std::vector<int32_t> out;
    const char* at = found->second.c_str();
    while (*at != '\0') {
      char* end = nullptr;
      out.push_back(static_cast<int32_t>(std::strtol(at, &end, 10)));
      at = *end == ',' ? end + 1 : end;
      if (end == at && *at != '\0') {
        std::fprintf(stderr, "--%s %s: expected numbers with commas between\n", name.c_str(),
                     found->second.c_str());
        std::exit(2);
      }
    }
    return out;
  }

 private:
  std::map<std::string, std::string> values_;
};

}  // namespace mimo::bench
