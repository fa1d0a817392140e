#include "coordinator/http/sampling_fields.h"

#include <charconv>
#include <string>

namespace mimo::http {
namespace {

void read_seed(Fields& fields, v1::Sampling* sampling) {
  const Json* seed = fields.find("seed");
  if (seed == nullptr) return;
  if (seed->is_number_unsigned()) return sampling->set_seed(seed->get<uint64_t>());
  // Negative seeds are as good as any: clients send them.
  if (seed->is_number_integer())
    return sampling->set_seed(static_cast<uint64_t>(seed->get<int64_t>()));
  fields.refuse("seed", *seed, "a whole number");
}

void read_logit_bias(Fields& fields, v1::Sampling* sampling) {
  const Json* biases = fields.object("logit_bias");
  if (biases == nullptr) return;
  for (const auto& [key, bias] : biases->items()) {
    int32_t id = -1;
    const char* end = key.data() + key.size();
    const auto parsed = std::from_chars(key.data(), end, id);
    if (parsed.ec != std::errc() || parsed.ptr != end || id < 0)
      return fields.refuse("logit_bias", Json(key), "token ids as keys");
    if (!bias.is_number()) return fields.refuse("logit_bias[" + key + "]", bias, "a number");
    (*sampling->mutable_logit_bias())[id] = bias.get<float>();
  }
}

void read_stop(Fields& fields, v1::Stopping* stopping) {
  const Json* stop = fields.find("stop");
  if (stop == nullptr) return;
  if (stop->is_string()) return stopping->add_stop_text(stop->get<std::string>());
  if (!stop->is_array()) return fields.refuse("stop", *stop, "a string or a list of strings");
  for (size_t i = 0; i < stop->size(); ++i) {
    const Json& each = (*stop)[i];
    if (!each.is_string())
      return fields.refuse("stop[" + std::to_string(i) + "]", each, "a string");
    stopping->add_stop_text(each.get<std::string>());
  }
}

// One word of vLLM's guided decoding, under either of its names.
bool set_guide(Fields& fields, const std::string& name, const Json& value, const std::string& kind,
               v1::Constraint* constraint) {
  if (kind == "json") {
    if (!value.is_object() && !value.is_string() && !value.is_boolean())
      return fields.refuse(name, value, "a JSON schema, or one as text"), false;
    constraint->set_json_schema(value.is_string() ? value.get<std::string>() : value.dump());
  } else if (kind == "regex" || kind == "grammar") {
    if (!value.is_string()) return fields.refuse(name, value, "a string"), false;
    if (kind == "regex") constraint->set_regex(value.get<std::string>());
    if (kind == "grammar") constraint->set_grammar(value.get<std::string>());
  } else if (kind == "choice") {
    if (!value.is_array() || value.empty())
      return fields.refuse(name, value, "a list of strings"), false;
    for (const Json& text : value) {
      if (!text.is_string()) return fields.refuse(name, text, "a list of strings"), false;
      constraint->mutable_choice()->add_texts(text.get<std::string>());
    }
  } else if (kind == "json_object") {
    if (!value.is_boolean()) return fields.refuse(name, value, "true or false"), false;
    if (!value.get<bool>()) return false;
    constraint->set_json_object(true);
  } else {
    constraint->set_structural_tag(value.is_string() ? value.get<std::string>() : value.dump());
  }
  return true;
}

constexpr const char* kGuides[] = {"json",    "regex",       "choice",
                                   "grammar", "json_object", "structural_tag"};

// What has bound the output, by its field's name; a second one is refused.
class OneOf {
 public:
  explicit OneOf(Fields& fields) : fields_(fields) {}
  void said(const std::string& name) {
    if (!first_.empty() && fields_.ok())
      *fields_.error() =
          bad_request(name, name + " beside " + first_ + ": expected one of the two at most");
    first_ = name;
  }

 private:
  Fields& fields_;
  std::string first_;
};

void read_response_format(Fields& fields, OneOf& one, v1::Constraint* constraint) {
  const Json* format = fields.object("response_format");
  if (format == nullptr) return;
  Fields inner(*format, fields.where() + "response_format.", fields.error());
  const auto type = inner.text("type");
  if (!fields.ok() || type == "text") return;
  one.said("response_format");
  if (type == "json_object") return constraint->set_json_object(true);
  if (type == "structural_tag") return constraint->set_structural_tag(format->dump());
  if (type != "json_schema")
    return inner.refuse("type", type ? Json(*type) : Json(nullptr),
                        "\"text\", \"json_object\" or \"json_schema\"");
  const Json* named = inner.object("json_schema");
  if (named == nullptr) return inner.refuse("json_schema", Json(nullptr), "an object");
  Fields schema_fields(*named, inner.where() + "json_schema.", fields.error());
  const Json* schema = schema_fields.find("schema");
  if (schema == nullptr || !(schema->is_object() || schema->is_boolean()))
    return schema_fields.refuse("schema", schema == nullptr ? Json(nullptr) : *schema,
                                "a JSON schema");
  constraint->set_json_schema(schema->dump());
}

}  // namespace

void read_sampling(Fields& fields, v1::Sampling* sampling) {
  const auto set_float = [&](const char* name, auto setter) {
    if (const auto value = fields.number(name)) (sampling->*setter)(static_cast<float>(*value));
  };
  set_float("temperature", &v1::Sampling::set_temperature);
  set_float("top_p", &v1::Sampling::set_top_p);
  set_float("min_p", &v1::Sampling::set_min_p);
  set_float("frequency_penalty", &v1::Sampling::set_frequency_penalty);
  set_float("presence_penalty", &v1::Sampling::set_presence_penalty);
  set_float("repetition_penalty", &v1::Sampling::set_repetition_penalty);
  // vLLM's -1 is its word for all.
  if (const auto top_k = fields.count("top_k")) sampling->set_top_k(*top_k == -1 ? 0 : *top_k);
  if (const auto n = fields.count("n")) sampling->set_num_sequences(*n);
  read_seed(fields, sampling);
  read_logit_bias(fields, sampling);
}

void read_stopping(Fields& fields, v1::Stopping* stopping) {
  read_stop(fields, stopping);
  if (const auto least = fields.count("min_tokens")) stopping->set_min_tokens(*least);
  if (const auto ignore = fields.flag("ignore_eos")) stopping->set_ignore_eos(*ignore);
  if (const auto include = fields.flag("include_stop_str_in_output"))
    stopping->set_include_stop_in_output(*include);
  const Json* ids = fields.list("stop_token_ids");
  if (ids == nullptr) return;
  for (size_t i = 0; i < ids->size(); ++i) {
    const Json& id = (*ids)[i];
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX)
      return fields.refuse("stop_token_ids[" + std::to_string(i) + "]", id, "a token id");
    stopping->add_stop_token_ids(id.get<int32_t>());
  }
}

void read_constraint(Fields& fields, v1::Constraint* constraint) {
  OneOf one(fields);
  read_response_format(fields, one, constraint);
  for (const char* kind : kGuides) {
    const std::string name = std::string("guided_") + kind;
    const Json* value = fields.find(name.c_str());
    if (value != nullptr && set_guide(fields, name, *value, kind, constraint)) one.said(name);
  }
  const Json* outputs = fields.object("structured_outputs");
  if (outputs == nullptr) return;
  Fields inner(*outputs, fields.where() + "structured_outputs.", fields.error());
  for (const char* kind : kGuides) {
    const Json* value = inner.find(kind);
    if (value != nullptr && set_guide(inner, kind, *value, kind, constraint))
      one.said(inner.where() + kind);
  }
}

void read_rest(Fields& fields) {
  fields.not_done("use_beam_search", false, "this server does not search beams");
  fields.not_done("prompt_logprobs", Json(), "expected echo with logprobs in /v1/completions");
  fields.not_done("truncate_prompt_tokens", Json(), "this server does not cut prompts");
  fields.not_done("logits_processors", Json::array(), "this server runs no code of its clients");
  fields.not_done("allowed_token_ids", Json(), "expected logit_bias or a grammar");
  fields.not_done("bad_words", Json::array(), "expected logit_bias or a grammar");
  // Said for bookkeeping elsewhere; nothing here depends on them.
  for (const char* name : {"user", "metadata", "store", "service_tier", "safety_identifier",
                           "prompt_cache_key", "priority", "guided_decoding_backend"})
    fields.find(name);
}

void read_stream(Fields& fields, StreamFields* stream) {
  stream->stream = fields.flag("stream").value_or(false);
  const Json* options = fields.object("stream_options");
  if (options == nullptr) return;
  if (!stream->stream && fields.ok())
    return fields.refuse("stream_options", *options, "it only with stream = true");
  Fields inner(*options, fields.where() + "stream_options.", fields.error());
  stream->include_usage = inner.flag("include_usage").value_or(false);
  stream->continuous_usage = inner.flag("continuous_usage_stats").value_or(false);
}

}  // namespace mimo::http
