#include "model/torch_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "expect_error.h"
#include "model/model_source.h"
#include "mxq/files.h"
#include "temporary_folder.h"
#include "torch_builder.h"

namespace mxq {
namespace {

using testing::ElementsAre;

constexpr const char* kConfig = R"({"model_type": "gemma9", "hidden_size": 4, "num_hidden_layers": 1,
  "num_attention_heads": 2, "vocab_size": 5})";
constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";

std::vector<float> read_all(const ModelSource& model, const SourceTensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  model.read(tensor, values.data());
  return values;
}

std::string hash_of(const ModelSource& model, std::string_view name) {
  ContentHash hash;
  model.hash(*model.find(name), hash);
  return hash.hex();
}

// One tensor of 2 x 3 in a storage of 6.
std::string file_of(const char* name, const char* type, const std::string& bytes, std::vector<int64_t> strides) {
  PickleBuilder pickle;
  pickle.op("}").text(name).tensor({type, "0", 6, 0, {2, 3}, std::move(strides)}).op("s");
  return torch_file(pickle.done(), {{"0", bytes}});
}

TEST(TorchSource, ReadsRowsInAnyOrder) {
  const TemporaryFolder folder;
  write_file(folder / "config.json", kConfig);
  const std::string rows = bytes_of(std::vector<float>{0, 1, 2, 3, 4, 5});
  const std::string columns = bytes_of(std::vector<float>{0, 3, 1, 4, 2, 5});
  std::vector<std::string> hashes;
  for (const bool transposed : {false, true}) {
    const auto strides = transposed ? std::vector<int64_t>{1, 2} : std::vector<int64_t>{3, 1};
    write_file(folder / "pytorch_model.bin", file_of(kUp, "FloatStorage", transposed ? columns : rows, strides));
    const auto model = open_model(folder.path());
    EXPECT_EQ(model->architecture(), "gemma9");
    EXPECT_THAT(model->weight_files(), ElementsAre(folder / "pytorch_model.bin"));
    const SourceTensor& up = *model->find(kUp);
    EXPECT_TRUE(up.matrix);
    EXPECT_THAT(read_all(*model, up), ElementsAre(0, 1, 2, 3, 4, 5));
    std::vector<float> last(3);
    model->read_rows(up, 1, 1, last.data());
    EXPECT_THAT(last, ElementsAre(3, 4, 5));
    EXPECT_EQ(model->plain_bytes(up).has_value(), !transposed);
    EXPECT_EQ(model->output_dtype(up), DType::f32);
    EXPECT_EQ(model->stored_bytes(up), 24);
    hashes.push_back(hash_of(*model, kUp));
    model->done(up);
  }
  EXPECT_EQ(hashes[0], hashes[1]) << "the same values are the same tensor";
}

TEST(TorchSource, GathersWhatIsNoFloat) {
  const TemporaryFolder folder;
  write_file(folder / "a.pth", file_of("ids", "LongStorage", bytes_of(std::vector<int64_t>{0, 3, 1, 4, 2, 5}), {1, 2}));
  const auto model = open_model(folder / "a.pth");
  EXPECT_FALSE(model->config());
  const auto bytes = model->plain_bytes(*model->find("ids"));
  ASSERT_EQ(bytes->size(), 48u);
  std::vector<int64_t> ids(6);
  std::memcpy(ids.data(), bytes->data(), bytes->size());
  EXPECT_THAT(ids, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(model->plain_bytes(*model->find("ids"))->data(), bytes->data()) << "gathered once";
}

TEST(TorchSource, RefusesStacksInAnotherOrder) {
  const TemporaryFolder folder;
  write_file(folder / "config.json", kConfig);
  PickleBuilder pickle;
  pickle.op("}").text("model.layers.0.mlp.experts.gate_up_proj");
  pickle.tensor({"FloatStorage", "0", 6, 0, {1, 2, 3}, {6, 1, 2}}).op("s");
  write_file(folder / "pytorch_model.bin", torch_file(pickle.done(), {{"0", std::string(24, '\0')}}));
  expect_error(ErrorCode::unsupported, "expected tensors after contiguous()", [&] { open_model(folder.path()); });
}

TEST(TorchSource, PrefersWhatTransformersPrefers) {
  const TemporaryFolder folder;
  const std::string bytes = bytes_of(std::vector<float>{0, 1, 2, 3, 4, 5});
  write_file(folder / "other.bin", file_of("other", "FloatStorage", bytes, {3, 1}));
  EXPECT_TRUE(holds_torch_model(folder.path()));
  write_file(folder / "a.gguf", "GGUF");
  EXPECT_FALSE(holds_torch_model(folder.path())) << "a .gguf before a file of any name";
  write_file(folder / "config.json", kConfig);
  write_file(folder / "pytorch_model.bin", file_of(kUp, "FloatStorage", bytes, {3, 1}));
  EXPECT_TRUE(holds_torch_model(folder.path()));
  write_file(folder / "pytorch_model.bin.index.json", "{}");
  const auto model = open_model(folder.path());
  EXPECT_EQ(model->tensors().size(), 1u);
  EXPECT_THAT(model->notes(), testing::Contains(testing::HasSubstr("pytorch_model.bin lies beside")));
  write_file(folder / "adapter_config.json", "{}");
  EXPECT_FALSE(holds_torch_model(folder.path()));
}

}  // namespace
}  // namespace mxq
