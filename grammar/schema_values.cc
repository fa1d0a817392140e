#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "grammar/number_texts.h"
#include "grammar/schema_compiler.h"

namespace mimo::grammar {
namespace {

constexpr int64_t kMultiplesMax = 1000;
// To write fewer than are allowed is still right, and an automaton that counts far is dear.
constexpr int64_t kCountMax = 4096;

// Formats that are held to, each by a part of it that every checker agrees on.
const std::map<std::string, std::string>& formats() {
  static const std::map<std::string, std::string> all = [] {
    const std::string year = "(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})";
    const std::string date =
        year +
        "-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|"
        "02-(0[1-9]|1[0-9]|2[0-8]))";
    const std::string clock = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?";
    const std::string zone = "(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9])";
    const std::string name = "[a-z0-9]{1,10}(-[a-z0-9]{1,10}){0,2}";
    const std::string byte = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    const std::string host = "(" + name + "[.]){1,4}[a-z]{2,12}";
    return std::map<std::string, std::string>{
        {"date", date},
        {"time", clock + zone},
        {"date-time", date + "T" + clock + zone},
        {"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"},
        {"ipv4", "(" + byte + "[.]){3}" + byte},
        {"hostname", host},
        {"email", "[a-zA-Z0-9_+-]{1,32}([.][a-zA-Z0-9_+-]{1,32}){0,2}@" + host},
        {"uri", "https?://" + host + "(:[1-9][0-9]{1,3})?(/[a-zA-Z0-9_~.=&+-]{0,64}){0,8}"}};
  }();
  return all;
}

Result<std::optional<DecimalBound>> bound(const Json& schema, const std::string& at,
                                          const char* keyword, bool exclusive) {
  if (!schema.contains(keyword)) return std::optional<DecimalBound>();
  if (!schema[keyword].is_number()) return refused(at, keyword, "expected a number");
  auto parsed = DecimalBound::parse(schema[keyword].dump(), exclusive);
  if (!parsed.ok()) return refused(at, keyword, parsed.error().message);
  return std::optional<DecimalBound>(std::move(parsed).value());
}

// Whole numbers are drawn with 18 digits at most: what bounds them further out bounds none.
constexpr int64_t kWholeMax = 999'999'999'999'999'999;
constexpr int64_t kStepMax = 1'000'000'000'000'000;

// The least or the greatest whole number that the keyword allows.
Result<std::optional<int64_t>> whole_bound(const Json& schema, const std::string& at,
                                           const char* keyword, bool exclusive, bool is_low) {
  if (schema.contains(keyword) && schema[keyword].is_number_integer()) {
    const Json& number = schema[keyword];
    const bool far_up =
        number.is_number_unsigned() && number.get<uint64_t>() > static_cast<uint64_t>(kWholeMax);
    const bool far_down = !number.is_number_unsigned() && number.get<int64_t>() < -kWholeMax;
    if (is_low ? far_up : far_down) return refused(at, keyword, "expected at most 18 digits");
    if (far_up || far_down) return std::optional<int64_t>(is_low ? -kWholeMax : kWholeMax);
    return std::optional<int64_t>(number.get<int64_t>() + (exclusive ? (is_low ? 1 : -1) : 0));
  }
  TRY_ASSIGN(const auto given, bound(schema, at, keyword, exclusive));
  if (!given) return std::optional<int64_t>();
  int64_t whole = std::stoll(given->whole);
  if (given->negative) whole = -whole;
  const bool between = !given->fraction.empty();
  if (is_low)
    return std::optional<int64_t>(whole +
                                  ((between && !given->negative) || (!between && exclusive)));
  return std::optional<int64_t>(whole - ((between && given->negative) || (!between && exclusive)));
}

}  // namespace

Result<SchemaCompiler::Counts> SchemaCompiler::counts(const Json& schema, const std::string& at,
                                                      const char* min, const char* max) {
  Counts counts;
  for (const auto& [keyword, place] : {std::pair(min, &counts.min), std::pair(max, &counts.max)}) {
    if (!schema.contains(keyword)) continue;
    const Json& given = schema[keyword];
    const bool whole = given.is_number() && given.get<double>() == std::floor(given.get<double>());
    if (!whole || given.get<double>() < 0 || given.get<double>() > 1e15)
      return refused(at, keyword, "expected a whole number from 0 to 10^15");
    *place = static_cast<int64_t>(given.get<double>());
  }
  if (counts.min > kCountMax)
    return refused(at, min, "expected at most " + std::to_string(kCountMax));
  if (counts.max > kCountMax) counts.max = kCountMax;
  return counts;
}

Result<Texts> SchemaCompiler::string_value(const Json& schema, const std::string& at) {
  TRY_ASSIGN(const Counts length, counts(schema, at, "minLength", "maxLength"));
  const bool bounded = length.min > 0 || length.max != Regex::kUnbounded;
  const bool impossible = length.max != Regex::kUnbounded && length.min > length.max;
  if (impossible) return Texts();
  const bool has_pattern = schema.contains("pattern"), has_format = schema.contains("format");
  if (!has_pattern && !has_format)
    return bounded ? Texts(string_of_length(length.min, length.max, &rules_))
                   : Texts(rule::kString);
  if (has_pattern && has_format) return refused(at, "format", "beside pattern is not supported");

  const char* keyword = has_pattern ? "pattern" : "format";
  if (!schema[keyword].is_string()) return refused(at, keyword, "expected a string");
  const auto& text = schema[keyword].get_ref<const std::string&>();
  if (has_format && !formats().contains(text))
    return refused(at, "format", "\"" + text + "\" is not supported");
  const auto regex =
      parse_regex(has_pattern ? text : formats().at(text), has_format, limits_.regex);
  if (!regex.ok()) return refused(at, keyword, regex.error().message);
  const TextLength own = length_of(regex.value());
  const bool implied =
      own.min >= length.min &&
      (length.max == Regex::kUnbounded || (own.max != Regex::kUnbounded && own.max <= length.max));
  if (!implied) return refused(at, keyword, "beside minLength or maxLength that it does not imply");
  return Texts(string_of(regex.value(), &rules_));
}

Result<Texts> SchemaCompiler::integer_value(const Json& schema, const std::string& at) {
  TRY_ASSIGN(const auto min, whole_bound(schema, at, "minimum", false, true));
  TRY_ASSIGN(const auto above, whole_bound(schema, at, "exclusiveMinimum", true, true));
  TRY_ASSIGN(const auto max, whole_bound(schema, at, "maximum", false, false));
  TRY_ASSIGN(const auto below, whole_bound(schema, at, "exclusiveMaximum", true, false));
  const auto low = min && above ? std::max(*min, *above) : min ? min : above;
  const auto high = max && below ? std::min(*max, *below) : max ? max : below;
  if (schema.contains("multipleOf") && schema["multipleOf"] != 1) {
    const Json& given = schema["multipleOf"];
    if (!given.is_number_integer() || given.get<int64_t>() <= 0)
      return refused(at, "multipleOf", "expected a whole number above 0");
    const auto step = given.get<int64_t>();
    if (step > kStepMax) return refused(at, "multipleOf", "expected at most 10^15");
    for (const auto& limit : {low, high})
      if (limit && std::abs(*limit) > kStepMax)
        return refused(at, "multipleOf", "expected bounds of at most 10^15 beside it");
    if (!low || !high || (*high - *low) / step >= kMultiplesMax)
      return refused(
          at, "multipleOf",
          "expected bounds with at most " + std::to_string(kMultiplesMax) + " multiples between");
    std::vector<Texts> all;
    for (int64_t n = *low + ((-*low % step) + step) % step; n <= *high; n += step)
      all.emplace_back(ebnf_literal(std::to_string(n)));
    return any_of_texts(all);
  }
  if (!low && !high) return Texts(rule::kInteger);
  const auto texts = integer_texts(low, high);
  return texts ? Texts(to_ebnf(*texts, &rules_)) : Texts();
}

Result<Texts> SchemaCompiler::number_value(const Json& schema, const std::string& at) {
  if (schema.contains("multipleOf"))
    return refused(at, "multipleOf", "of numbers that need not be whole is not supported");
  for (const auto& [one, other] :
       {std::pair("exclusiveMinimum", "minimum"), std::pair("exclusiveMaximum", "maximum")})
    if (schema.contains(one) && schema.contains(other))
      return refused(at, one, std::string("beside ") + other + " is not supported");
  TRY_ASSIGN(auto low, bound(schema, at, "minimum", false));
  TRY_ASSIGN(auto high, bound(schema, at, "maximum", false));
  if (!low) {
    TRY_ASSIGN(low, bound(schema, at, "exclusiveMinimum", true));
  }
  if (!high) {
    TRY_ASSIGN(high, bound(schema, at, "exclusiveMaximum", true));
  }
  if (!low && !high) return Texts(rule::kNumber);
  const auto texts = decimal_texts(low, high);
  return texts ? Texts(to_ebnf(*texts, &rules_)) : Texts();
}

Result<Texts> SchemaCompiler::array_value(const Json& schema, const std::string& at) {
  TRY_ASSIGN(Counts length, counts(schema, at, "minItems", "maxItems"));
  std::vector<std::string> first;
  bool more_allowed = true;
  if (schema.contains("prefixItems")) {
    const Json& items = schema["prefixItems"];
    const std::string inside = pointer_to(at, "prefixItems");
    if (!items.is_array()) return refused(at, "prefixItems", "expected an array of schemas");
    for (size_t i = 0; i < items.size() && more_allowed; ++i) {
      if (length.max != Regex::kUnbounded && static_cast<int64_t>(i) >= length.max) break;
      TRY_ASSIGN(const Texts one, value(items[i], pointer_to(inside, std::to_string(i))));
      more_allowed = one.has_value();
      if (one) first.push_back(*one);
    }
  }
  const auto num_first = static_cast<int64_t>(first.size());
  // A tuple ends with its last item unless something says what follows.
  const bool tuple = schema.contains("prefixItems") && length.min <= num_first;
  Texts more = tuple ? Texts() : Texts(rule::kAny);
  if (schema.contains("items")) {
    if (schema["items"].is_array())
      return refused(at, "items", "an array of schemas is not supported: expected prefixItems");
    TRY_ASSIGN(more, value(schema["items"], pointer_to(at, "items")));
  }
  if (!more_allowed) more = std::nullopt;
  const bool impossible = (length.max != Regex::kUnbounded && length.min > length.max) ||
                          (!more && length.min > num_first);
  if (impossible) return Texts();
  const int64_t max = length.max == Regex::kUnbounded ? length.max : length.max - num_first;
  return Texts(rules_.add(
      array_of(first, more, std::max<int64_t>(length.min - num_first, 0), max, &rules_)));
}

}  // namespace mimo::grammar
