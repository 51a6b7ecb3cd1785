// A tiny model that a target writes with all its matrices in one scheme, for tests of targets that are folders.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "export/target.h"
#include "model/model_source.h"
#include "model/select_matrices.h"
#include "model/tiny_model.h"
#include "temporary_folder.h"

namespace mxq {

/// The length that a safetensors file says its header has, and the eight bytes that say so.
inline int64_t header_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof length);
  return static_cast<int64_t>(length + sizeof length);
}

inline Values weights_of(const ModelSource& model, const SourceTensor& tensor) {
  Values weights(static_cast<size_t>(tensor.elements()));
  model.read(tensor, weights.data());
  return weights;
}

struct TargetFixture : testing::Test {
  TargetFixture(const Target& of, const QuantizeOptions& how, MatrixSelection selected)
      : target(of), selection(std::move(selected)), options(how) {}

  /// In the place of the model and the output that were there.
  void open(const std::string& name) {
    std::filesystem::remove_all(folder.path() / "model");
    std::filesystem::remove_all(out);
    TinyModel(name).write(folder.path() / "model");
    model = open_model(folder.path() / "model");
    matrices = select_matrices(*model, selection);
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
    return target.write(all_in_one_scheme(), {out, how.overwrite, {}}, how, nullptr);
  }

  /// The model's matrices in the scheme take the bytes that the target has promised, in one shard and in shards of
  /// `small_shard` bytes.
  void expect_promised_bytes(int64_t small_shard) {
    const RestBytes rest = target.rest(*model, matrices);
    int64_t promised = 0;
    for (const auto* tensor : matrices) {
      ASSERT_TRUE(target.holds(scheme, options, tensor->rows(), tensor->cols()));
      promised += target.matrix_bytes(scheme, options, tensor->rows(), tensor->cols());
    }
    for (const int64_t shard : {int64_t{1} << 40, small_shard}) {
      std::filesystem::remove_all(out);
      WriteOptions how;
      how.max_shard_bytes = shard;
      const WriteReport report = write(how);
      EXPECT_EQ(report.matrix_bytes, promised);
      int64_t files = 0, headers = 0, shards = 0;
      for (const auto& [name, bytes] : report.files) {
        if (!name.ends_with(".safetensors")) continue;
        EXPECT_TRUE(name.starts_with("model")) << name;  // what loaders look for
        EXPECT_EQ(bytes, static_cast<int64_t>(std::filesystem::file_size(out / name)));
        files += bytes;
        headers += header_of(out / name);
        ++shards;
      }
      EXPECT_EQ(shards > 1, shard == small_shard);
      EXPECT_EQ(files - headers, rest.tensors + promised);
      EXPECT_LE(headers, rest.headers + shards * 256) << shards << " shards";
    }
  }

  const Target& target;
  MatrixSelection selection;
  TemporaryFolder folder;
  const std::filesystem::path out = folder.path() / "out";
  std::unique_ptr<ModelSource> model;
  std::vector<const SourceTensor*> matrices;
  Scheme scheme{3, 32};
  QuantizeOptions options;
};

}  // namespace mxq
