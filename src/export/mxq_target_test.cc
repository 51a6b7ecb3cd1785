// What a target promises before it writes is what its files hold, to the byte; and what it writes comes back.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "expect_error.h"
#include "export/target.h"
#include "model/model_source.h"
#include "model/select_matrices.h"
#include "model/tiny_model.h"
#include "mxq/error.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

/// The length that a safetensors file says its header has, and the eight bytes that say so.
int64_t header_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof length);
  return static_cast<int64_t>(length + sizeof length);
}

std::vector<float> weights_of(const ModelSource& model, const SourceTensor& tensor) {
  std::vector<float> weights(static_cast<size_t>(tensor.elements()));
  model.read(tensor, weights.data());
  return weights;
}

struct MxqTargets : testing::Test {
  void SetUp() override {
    std::filesystem::create_directory(folder.path() / "model");
    TinyModel("llama2").write(folder.path() / "model");
    model = open_model(folder.path() / "model");
    matrices = select_matrices(*model, {});
  }

  QuantizedMatrix quantized(const SourceTensor& tensor) const {
    const auto weights = weights_of(*model, tensor);
    return quantize_matrix({weights.data(), tensor.rows(), tensor.cols()}, scheme, options);
  }

  Export all_in_one_scheme() const {
    Export what{*model, *model, options, {}, "{}\n", "key"};
    for (const auto* tensor : matrices) {
      what.matrices.push_back({tensor, quantized_layout(scheme, options, tensor->rows(), tensor->cols()),
                               [this, tensor] { return quantized(*tensor); }});
    }
    return what;
  }

  WriteReport write(const WriteOptions& how = {}) const {
    return mxq_target().write(all_in_one_scheme(), {out, how.overwrite, {}}, how, nullptr);
  }

  TemporaryFolder folder;
  const std::filesystem::path out = folder.path() / "out";
  std::unique_ptr<ModelSource> model;
  std::vector<const SourceTensor*> matrices;
  Scheme scheme{3, 32};
  QuantizeOptions options{Fit::rtn, 1, Metadata::q8, Normalize::columns};
};

TEST_F(MxqTargets, BytesAreWhatWasPromised) {
  const RestBytes rest = mxq_target().rest(*model, matrices);
  int64_t promised = 0;
  for (const auto* tensor : matrices) {
    ASSERT_TRUE(mxq_target().holds(scheme, options, tensor->rows(), tensor->cols()));
    promised += mxq_target().matrix_bytes(scheme, options, tensor->rows(), tensor->cols());
  }
  for (const int64_t shard : {int64_t{1} << 40, int64_t{20'000}}) {
    std::filesystem::remove_all(out);
    WriteOptions how;
    how.max_shard_bytes = shard;
    const WriteReport report = write(how);
    EXPECT_EQ(report.matrix_bytes, promised);
    int64_t files = 0, headers = 0, shards = 0;
    for (const auto& [name, bytes] : report.files) {
      if (!name.ends_with(".safetensors")) continue;
      EXPECT_EQ(bytes, static_cast<int64_t>(std::filesystem::file_size(out / name)));
      files += bytes;
      headers += header_of(out / name);
      ++shards;
    }
    EXPECT_EQ(shards > 1, shard == 20'000);
    EXPECT_EQ(files - headers, rest.tensors + promised);
    EXPECT_LE(headers, rest.headers + shards * 256) << shards << " shards";
  }
}

TEST_F(MxqTargets, ComesBackBitForBit) {
  write();
  const auto again = open_model(out);
  for (const auto* tensor : matrices) {
    const SourceTensor* const stored = again->find(tensor->name);
    ASSERT_NE(stored, nullptr) << tensor->name;
    std::vector<float> expected(static_cast<size_t>(tensor->elements()));
    dequantize_matrix(quantized(*tensor).view(), expected.data());
    EXPECT_EQ(weights_of(*again, *stored), expected) << tensor->name;
  }
  for (const auto& tensor : model->tensors()) {
    if (std::find(matrices.begin(), matrices.end(), &tensor) != matrices.end()) continue;
    EXPECT_EQ(weights_of(*again, *again->find(tensor.name)), weights_of(*model, tensor)) << tensor.name;
  }
}

TEST_F(MxqTargets, NothingIsLeftOfWhatFails) {
  Export what = all_in_one_scheme();
  what.matrices.back().make = []() -> QuantizedMatrix { throw Error(ErrorCode::io, "test", "stopped"); };
  EXPECT_THROW(mxq_target().write(what, {out, false, {}}, {}, nullptr), Error);
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(Targets, AreFoundByName) {
  EXPECT_EQ(&find_target("mxq"), &mxq_target());
  for (const Target* target : targets()) EXPECT_EQ(&find_target(target->name()), target);
  expect_error(ErrorCode::usage, "'gguf5'; expected mxq", [] { find_target("gguf5"); });
}

}  // namespace
}  // namespace mxq
