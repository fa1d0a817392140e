#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/checkpoint/files.h"

namespace mimo::checkpoint {
namespace {

std::span<const uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// A file of this header text and so many bytes of data.
std::string file_of(const std::string& header, size_t data_bytes) {
  RawFile file;
  file.data.assign(data_bytes, 'x');
  return file.join_text(header);
}

std::string refusal(const std::string& file) {
  const auto tensors = parse_safetensors(bytes_of(file), "f");
  return tensors.ok() ? "accepted" : tensors.error().message;
}
std::string refusal(const std::string& header, size_t data_bytes) {
  return refusal(file_of(header, data_bytes));
}

// One tensor 'a' of these fields over 16 bytes of data.
std::string refusal_of(const std::string& dtype, const std::string& shape,
                       const std::string& offsets) {
  return refusal(
      "{\"a\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}",
      16);
}

TEST(Safetensors, ReadsTensorsInAnyOrderAndEmptyOnes) {
  const std::string file = file_of(
      R"({"b":{"dtype":"BF16","shape":[2,2],"data_offsets":[8,16]},
          "__metadata__":{"format":"pt"},
          "none":{"dtype":"F32","shape":[0,3],"data_offsets":[8,8]},
          "scalar":{"dtype":"I64","shape":[],"data_offsets":[0,8]}})",
      16);

  const auto tensors = parse_safetensors(bytes_of(file), "f").value();

  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors.at("b").shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(tensors.at("b").bytes.data(), bytes_of(file).data() + file.size() - 8);
  EXPECT_EQ(tensors.at("b").bytes.size(), 8u);
  EXPECT_EQ(tensors.at("none").bytes.size(), 0u);
  EXPECT_TRUE(tensors.at("scalar").shape.empty());
}

TEST(Safetensors, AFileThatIsNoneIsRefused) {
  EXPECT_EQ(refusal(""), "f: 0 bytes, expected at least the header's length of 8");
  EXPECT_EQ(refusal(std::string("\1\0\0", 3)),
            "f: 3 bytes, expected at least the header's length of 8");
  EXPECT_EQ(refusal(std::string("\7\0\0\0\0\0\0\0{}", 10)),
            "f: a header of 7 bytes in a file of 10: cut short?");
  EXPECT_EQ(refusal(std::string(16, '\xff')),
            "f: a header of 18446744073709551615 bytes, expected at most 100000000: not a "
            "safetensors file?");
  EXPECT_EQ(refusal("nonsense", 0), "f: header: not JSON at byte 2");
  EXPECT_EQ(refusal("[1]", 0), "f: header: expected a JSON object, found array");
  EXPECT_EQ(refusal("{\"a\":1,\"a\":2}", 0), "f: header: the key 'a' is there twice");
  EXPECT_EQ(refusal("{\"a\":{\"shape\":[[[1]]]}}", 0), "f: header: nested deeper than 3");
  EXPECT_EQ(refusal("{\"__metadata__\":{\"a\":1}}", 0),
            "f: __metadata__: found {\"a\":1}, expected an object of strings");
  EXPECT_EQ(refusal("{\"a\\n\":7}", 0), "f: tensor 'a\\x0a': found 7, expected an object");
}

TEST(Safetensors, AnOddEntryIsRefusedByTheTensorsName) {
  const std::string a = "f: tensor 'a': ";
  const std::string dtypes = ", expected F32, BF16, F8_E4M3, I32 or I64";
  const std::string shapes = ", expected at most 8 whole numbers";
  const std::string offsets = ", expected [begin, end] with begin <= end";
  EXPECT_EQ(refusal_of("\"F16\"", "[8]", "[0,16]"), a + "dtype: found 'F16'" + dtypes);
  EXPECT_EQ(refusal_of("32", "[8]", "[0,16]"), a + "dtype: found 32" + dtypes);
  EXPECT_EQ(refusal_of("\"F32\"", "[-4]", "[0,16]"), a + "shape: found [-4]" + shapes);
  EXPECT_EQ(refusal_of("\"F32\"", "[4.0]", "[0,16]"), a + "shape: found [4.0]" + shapes);
  EXPECT_EQ(refusal_of("\"F32\"", "4", "[0,16]"), a + "shape: found 4" + shapes);
  EXPECT_EQ(refusal_of("\"F32\"", "[1,1,1,1,1,1,1,1,4]", "[0,16]"),
            a + "shape: found [1,1,1,1,1,1,1,1,4]" + shapes);
  EXPECT_EQ(refusal_of("\"F32\"", "[18446744073709551615]", "[0,16]"),
            a + "shape: found [18446744073709551615]" + shapes);
  EXPECT_EQ(refusal_of("\"F32\"", "[4]", "[16,0]"), a + "data_offsets: found [16,0]" + offsets);
  EXPECT_EQ(refusal_of("\"F32\"", "[4]", "[0]"), a + "data_offsets: found [0]" + offsets);
  EXPECT_EQ(refusal_of("\"F32\"", "[4]", "[0,16,32]"),
            a + "data_offsets: found [0,16,32]" + offsets);
  EXPECT_EQ(refusal_of("\"F32\"", "[4]", "[-16,0]"), a + "data_offsets: found [-16,0]" + offsets);
  EXPECT_EQ(refusal_of("\"F32\"", "[5]", "[0,16]"),
            a + "F32 [5] is 20 bytes, but data_offsets are 16 apart");
  EXPECT_EQ(refusal_of("\"F32\"", "[4294967296,4294967296]", "[0,16]"),
            a + "F32 [4294967296, 4294967296] is more than 2^63 bytes, but data_offsets are 16 "
                "apart");
  EXPECT_EQ(refusal("{\"a\":{\"dtype\":\"F32\",\"shape\":[4]}}", 16), a + "data_offsets: missing");
  EXPECT_EQ(refusal("{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16],"
                    "\"stride\":1}}",
                    16),
            a + "a field 'stride' that is not known");
}

std::string two(const std::string& a, const std::string& b) {
  const auto entry = [](const std::string& offsets) {
    return "{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":" + offsets + "}";
  };
  return "{\"a\":" + entry(a) + ",\"b\":" + entry(b) + "}";
}

TEST(Safetensors, EveryByteBelongsToOneTensor) {
  EXPECT_EQ(refusal(two("[0,8]", "[8,16]"), 16), "accepted");
  EXPECT_EQ(refusal(two("[0,8]", "[8,16]"), 12),
            "f: tensor 'b': bytes [8, 16) of the data end after the file's 12: cut short?");
  EXPECT_EQ(refusal(two("[0,8]", "[6,14]"), 14),
            "f: tensor 'b': bytes [6, 14) of the data overlap another tensor");
  EXPECT_EQ(refusal(two("[0,8]", "[0,8]"), 8),
            "f: tensor 'b': bytes [0, 8) of the data overlap another tensor");
  EXPECT_EQ(refusal(two("[0,8]", "[10,18]"), 18),
            "f: tensor 'b': bytes [10, 18) of the data follow a gap from byte 8");
  EXPECT_EQ(refusal(two("[0,8]", "[8,16]"), 20), "f: 4 bytes after the last tensor belong to none");
  EXPECT_EQ(refusal("{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[2],\"data_offsets\":[0,2]},"
                    "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}",
                    6),
            "f: tensor 'b': starts at byte 122 of the file, not a multiple of its element's 4 "
            "bytes");
}

TEST(Safetensors, ATensorIsFoundOrNamed) {
  const auto file =
      SafetensorsFile::open(golden("bf16-small-window/expected_logits.safetensors")).value();

  EXPECT_EQ(file->tensor("logits_0").value().shape, (std::vector<int64_t>{5, 192}));
  const auto missing = file->tensor("logits_99");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_TRUE(
      missing.error().message.ends_with("expected_logits.safetensors: no tensor "
                                        "'logits_99'"));
}

std::string index_refusal(const std::string& json) {
  const auto index = parse_weight_index(json, "i");
  return index.ok() ? "accepted" : index.error().message;
}

TEST(WeightIndex, NamesFilesOfItsOwnFolderOnly) {
  for (const char* name : {"../model.safetensors", "/etc/passwd", "a/b.safetensors", "..",
                           ".safetensors", "model.bin", "a\\u0000.safetensors"}) {
    const std::string message =
        index_refusal("{\"weight_map\":{\"w\":\"" + std::string(name) + "\"}}");

    EXPECT_EQ(message.find("i: weight_map: tensor 'w': found '"), 0u) << message;
    EXPECT_TRUE(message.ends_with("expected the name of a .safetensors file in the same folder"));
  }
  EXPECT_EQ(index_refusal("{\"weight_map\":{\"w\":\"m.safetensors\"}}"), "accepted");
}

TEST(WeightIndex, WhatIsNoIndexIsRefused) {
  EXPECT_EQ(index_refusal("{}"), "i: weight_map: missing");
  EXPECT_EQ(index_refusal("{\"weight_map\":[]}"), "i: weight_map: found [], expected an object");
  EXPECT_EQ(index_refusal("{\"weight_map\":{\"w\":1}}"),
            "i: weight_map: tensor 'w': found 1, expected a file's name");
  EXPECT_EQ(index_refusal("{\"weight_map\":{\"w\":\"\"}}"),
            "i: weight_map: tensor 'w': found '', expected a file's name");
  EXPECT_EQ(index_refusal("{\"weight_map\":{},\"x\":1}"), "i: a field 'x' that is not known");
  EXPECT_EQ(index_refusal("{\"weight_map\":{},\"metadata\":{\"total_size\":\"9\"}}"),
            "i: metadata.total_size: found '9', expected a whole number");
  EXPECT_EQ(index_refusal("{\"weight_map\":{\"w\":\"a.safetensors\",\"w\":\"a.safetensors\"}}"),
            "i: the key 'w' is there twice");
}

}  // namespace
}  // namespace mimo::checkpoint
