// Any model as a GGUF of F32, for tests.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "export/gguf_metadata.h"
#include "export/gguf_tensors.h"
#include "format/gguf_writer.h"

namespace mxq {

/// `rows`: read at once.
inline void write_f32_gguf(const ModelSource& model, const std::filesystem::path& path, int64_t rows = 1000) {
  std::vector<std::string> notes;
  auto entries = gguf_metadata(model, notes);
  entries.push_back({"general.file_type", uint32_t{0}});
  const auto tensors = gguf_tensors(model, notes);
  std::vector<GgufTensorSpec> specs;
  for (const GgufTensor& tensor : tensors) specs.push_back({tensor.name, DType::f32, tensor.shape});
  GgufWriter writer(path, entries, specs);
  for (const GgufTensor& tensor : tensors) {
    for (int64_t first = 0; first < tensor.row_count(); first += rows) {
      const int64_t count = std::min(rows, tensor.row_count() - first);
      std::vector<float> values(static_cast<size_t>(count * tensor.row_size()));
      read_gguf_rows(model, tensor, first, count, values.data());
      writer.write(std::as_bytes(std::span(values)));
    }
  }
  writer.commit();
}

}  // namespace mxq
