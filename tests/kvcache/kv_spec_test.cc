#include "kvcache/kv_spec.h"

#include <gtest/gtest.h>

namespace mimo::kvcache {
namespace {

KvSpec unequal() {
  return {.kind = KvKind::kWindow,
          .num_layers = 39,
          .kv_heads = 2,
          .k_dim = 192,
          .v_dim = 128,
          .k_dtype = DType::kBf16,
          .v_dtype = DType::kF8E4m3,
          .page_tokens = 64,
          .window = 128};
}

TEST(KvSpec, CountsKBytesAndVBytesApart) {
  const KvSpec spec = unequal();

  EXPECT_EQ(spec.k_page_bytes(), 2 * 64 * 192 * 2);
  EXPECT_EQ(spec.v_page_bytes(), 2 * 64 * 128 * 1);
  EXPECT_EQ(spec.bytes_per_page(), 39 * (2 * 64 * 192 * 2 + 2 * 64 * 128));
}

TEST(KvSpec, FirstLivePageHoldsTheOldestKeyThatTheQuerySees) {
  for (const int32_t window : {1, 15, 16, 17, 63, 64, 65, 128}) {
    KvSpec spec = unequal();
    spec.window = window;
    spec.page_tokens = 16;
    for (int32_t position = 0; position < 300; ++position) {
      const int32_t oldest = std::max(0, position - window + 1);
      ASSERT_EQ(spec.first_live_page(position), oldest / 16) << window << " " << position;
    }
  }
}

TEST(KvSpec, RefusesWhatItCannotBe) {
  const auto refuses = [](auto change, const std::string& field) {
    KvSpec spec = unequal();
    change(spec);
    const auto checked = spec.validate();
    ASSERT_FALSE(checked.ok()) << field;
    EXPECT_EQ(checked.error().code, Code::kInvalidArgument);
    EXPECT_NE(checked.error().message.find(field), std::string::npos) << checked.error().message;
  };

  EXPECT_TRUE(unequal().validate().ok());
  refuses([](KvSpec& s) { s.num_layers = 0; }, "num_layers is 0");
  refuses([](KvSpec& s) { s.kv_heads = -1; }, "kv_heads is -1");
  refuses([](KvSpec& s) { s.k_dim = 0; }, "k_dim is 0");
  refuses([](KvSpec& s) { s.v_dim = 1 << 20; }, "v_dim is 1048576");
  refuses([](KvSpec& s) { s.k_dtype = DType::kI32; }, "k_dtype is I32");
  refuses([](KvSpec& s) { s.v_dtype = DType::kI64; }, "v_dtype is I64");
  refuses([](KvSpec& s) { s.page_tokens = 48; }, "page_tokens is 48");
  refuses([](KvSpec& s) { s.window = 0; }, "window is 0");
  refuses([](KvSpec& s) { s.kind = KvKind::kFull; }, "full layers: window is 128");
}

}  // namespace
}  // namespace mimo::kvcache
