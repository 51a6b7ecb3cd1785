#include "export/model_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <unordered_set>
#include <utility>

#include "base/atomic_file.h"
#include "base/content_hash.h"
#include "base/foreign_dtype.h"
#include "base/mapped_file.h"
#include "base/staged_folder.h"
#include "format/weights.h"
#include "model/select_matrices.h"
#include "mxq/error.h"
#include "mxq/quantized_matrix.h"
#include "schemes/stored_matrix.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kChunkElements = 1 << 22;  // 16 MiB of floats at a time
constexpr size_t kChunkBytes = 1 << 24;

void write_shard(const Shard& shard, const fs::path& path, const FolderContents& contents, size_t& next, Progress& bar,
                 int64_t& done) {
  const auto& tensors = contents.tensors;
  SafetensorsWriter writer(path, shard.tensors, contents.metadata);
  for (size_t left = shard.tensors.size(); left > 0; ++next) {
    tensors[next].write(writer);
    left -= tensors[next].specs.size();
    done += tensors[next].work;
    bar.update(done);
  }
  writer.commit();
}

void skip_shard(const Shard& shard, const std::vector<OutputTensors>& tensors, size_t& next, int64_t& done) {
  for (size_t left = shard.tensors.size(); left > 0; ++next) {
    left -= tensors[next].specs.size();
    done += tensors[next].work;
  }
}

/// Whether the file has the tensor's own values: no codes, no blocks.
bool holds_floats(const SourceTensor& tensor) {
  return tensor.stored_as == dtype_name(tensor.dtype) && dtype_block_elements(tensor.dtype) == 1;
}

/// Sees all values of a tensor on their way: throws for what is refused, notes the first of the others that is none.
class Watch {
 public:
  Watch(const SourceTensor& tensor, NotFinite policy, std::vector<std::string>& notes)
      : tensor_(tensor), policy_(policy), notes_(notes) {}

  /// The next `count` values.
  void see(const std::byte* values, int64_t count, DType dtype) {
    const int64_t unit = dtype_block_bytes(dtype), first = std::exchange(seen_, seen_ + count);
    for (int64_t from = 0; from < count && !(told_ && policy_ == NotFinite::copy); ++from) {
      const int64_t at = first_not_finite(values + from * unit, count - from, dtype);
      if (at < 0) return;
      from += at;
      float value = 0;
      const std::span bytes(values, static_cast<size_t>(count * unit));
      read_f32({tensor_.name, dtype, {count}, bytes}, from, 1, &value);
      meet(value, first + from);
    }
  }

 private:
  /// Masks are made of infinities.
  bool refuses(float value) const {
    const bool weights = tensor_.name.ends_with(".weight") || tensor_.name.ends_with(".bias");
    return policy_ == NotFinite::refuse && (weights || std::isnan(value));
  }
  void meet(float value, int64_t at) {
    const Error error = not_finite(tensor_, value, at / tensor_.cols(), at % tensor_.cols());
    if (refuses(value)) throw Error(error);
    if (!std::exchange(told_, true)) notes_.push_back(error.given() + ": copied as it is");
  }

  const SourceTensor& tensor_;
  NotFinite policy_;
  std::vector<std::string>& notes_;
  int64_t seen_ = 0;
  bool told_ = false;
};

void copy_bytes(const SourceTensor& tensor, std::span<const std::byte> raw, NotFinite policy, SafetensorsWriter& writer,
                std::vector<std::string>& notes) {
  const bool floats = dtype_is_weight(tensor.dtype) && holds_floats(tensor);
  Watch watch(tensor, policy, notes);
  // A piece at a time, each let go at once: an embedding may be larger than the memory that we promise to stay in.
  for (size_t begin = 0; begin < raw.size(); begin += kChunkBytes) {
    const auto piece = raw.subspan(begin, std::min(kChunkBytes, raw.size() - begin));
    const auto count = static_cast<int64_t>(piece.size()) / dtype_block_bytes(tensor.dtype);
    if (floats) watch.see(piece.data(), count, tensor.dtype);
    writer.write(piece);
    advise_done(piece);
  }
}

/// Not for a tensor without elements.
void convert_rows(const ModelSource& model, const SourceTensor& tensor, DType dtype, NotFinite policy,
                  SafetensorsWriter& writer, std::vector<std::string>& notes) {
  const bool copied = policy == NotFinite::copy && holds_floats(tensor);
  const int64_t elements = tensor.elements(), rows = tensor.rows(), row = tensor.cols();
  const int64_t step = std::max<int64_t>(1, kChunkElements / row);
  std::vector<float> values(static_cast<size_t>(std::min(step, rows) * row));
  std::vector<std::byte> bytes(static_cast<size_t>(dtype_bytes(dtype, static_cast<int64_t>(values.size()))));
  int64_t zeros = 0;
  Watch watch(tensor, policy, notes);
  for (int64_t begin = 0; begin < rows; begin += step) {
    const int64_t count = std::min(step, rows - begin), size = count * row;
    if (copied) {
      model.copy_rows(tensor, begin, count, values.data());
      watch.see(std::as_bytes(std::span(values)).data(), size, DType::f32);
    } else {
      model.read_rows(tensor, begin, count, values.data());
    }
    require_fit(tensor, begin, count, values.data(), dtype, zeros);
    write_dtype(values.data(), size, dtype, bytes.data());
    writer.write(std::span(bytes).first(static_cast<size_t>(dtype_bytes(dtype, size))));
  }
  model.done(tensor);
  note_zeros(tensor.name, zeros, elements, dtype, notes);
}

/// Files of the model and when they were last changed, so that a resumed run never mixes two models.
std::string source_identity(const ModelSource& model) {
  std::string identity;
  for (const auto& file : model.weight_files()) {
    identity += fmt::format("{} {} {}\n", fs::absolute(file).string(), fs::file_size(file),
                            fs::last_write_time(file).time_since_epoch().count());
  }
  return identity;
}

}  // namespace

void require_fit(const SourceTensor& tensor, int64_t first, int64_t count, const float* values, DType dtype,
                 int64_t& zeros) {
  const int64_t row = tensor.cols(), at = first_overflow(values, count * row, dtype, zeros);
  if (at < 0) return;
  throw Error(ErrorCode::unsupported, "write " + std::string(dtype_name(dtype)),
              fmt::format("'{}' holds {} at row {}, column {}", tensor.name, values[at], first + at / row, at % row),
              fmt::format("numbers that {} can hold, or the dtype {}", dtype_name(dtype),
                          dtype == DType::f16 ? "bf16 or f32" : "f32"));
}

void note_zeros(const std::string& name, int64_t zeros, int64_t elements, DType dtype,
                std::vector<std::string>& notes) {
  if (zeros == 0) return;
  notes.push_back(
      fmt::format("'{}': {} of {} values are too small for {} and become 0", name, zeros, elements, dtype_name(dtype)));
}

std::optional<int64_t> foreign_bytes(const ModelSource& model, const SourceTensor& tensor) {
  return is_foreign(tensor.dtype) ? std::optional(model.stored_bytes(tensor)) : std::nullopt;
}

OutputTensors quantized_output(const std::string& name, const QuantizedLayout& layout,
                               std::function<QuantizedMatrix()> make) {
  OutputTensors output;
  output.specs = stored_specs(name, layout);
  output.work = layout.rows * layout.cols;
  output.write = [name, make = std::move(make)](SafetensorsWriter& writer) {
    const QuantizedMatrix matrix = make();
    check_numbers(name, matrix.view());
    for (const auto& part : matrix.parts) writer.write(part);
  };
  return output;
}

OutputTensors plain_output(const ModelSource& model, const SourceTensor& tensor, DType dtype, NotFinite policy,
                           std::vector<std::string>& notes) {
  OutputTensors output;
  output.specs = {{tensor.stored_name, dtype, tensor.shape, foreign_bytes(model, tensor)}};
  output.work = tensor.elements();
  output.write = [&model, &tensor, dtype, policy, &notes](SafetensorsWriter& writer) {
    const auto raw = model.plain_bytes(tensor);
    if (raw && tensor.dtype == dtype) {
      copy_bytes(tensor, *raw, policy, writer, notes);
    } else if (tensor.elements() > 0) {
      convert_rows(model, tensor, dtype, policy, writer, notes);
    }
    model.done(tensor);
  };
  return output;
}

WriteReport write_model_folder(const ModelSource& model, const FolderContents& contents, const OutputFolder& out,
                               const WriteOptions& options, Progress* progress) {
  Progress& bar = or_silent(progress);
  WriteReport report;

  std::vector<TensorSpec> specs;
  std::unordered_map<std::string, std::string> group;
  int64_t work = 0, done = 0;
  for (const auto& tensors : contents.tensors) {
    work += tensors.work;
    for (const auto& spec : tensors.specs) {
      group[spec.name] = tensors.specs.front().name;
      specs.push_back(spec);
    }
  }
  ShardLayout layout =
      plan_shards(specs, options.max_shard_bytes, [&](const TensorSpec& spec) { return group.at(spec.name); });
  const bool usual = contents.ending == kSafetensorsEnding;
  for (Shard& shard : layout.shards) {
    shard.file.replace(shard.file.size() - kSafetensorsEnding.size(), std::string::npos, contents.ending);
  }

  ContentHash key;
  key.add(contents.key);
  key.add(source_identity(model));
  StagedFolder stage(out, key.hex());
  bar.begin("write", work);
  size_t next = 0;
  for (const auto& shard : layout.shards) {
    const fs::path path = stage.file(shard.file);
    if (stage.resumed() && is_finished_shard(path, shard.tensors, contents.metadata)) {
      skip_shard(shard, contents.tensors, next, done);
    } else {
      write_shard(shard, path, contents, next, bar, done);
    }
  }
  auto files = contents.files;
  if (contents.files_of_layout) std::ranges::move(contents.files_of_layout(layout), std::back_inserter(files));
  if (layout.shards.size() > 1 && usual) files.emplace_back("model.safetensors.index.json", shard_index_json(layout));
  for (auto& side : model.side_files(report.notes)) files.push_back(std::move(side));
  for (const auto& [name, text] : files) write_file(stage.file(name), text);
  for (const auto& entry : fs::directory_iterator(stage.path())) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with('.')) report.files[name] = static_cast<int64_t>(entry.file_size());
  }
  stage.commit();
  bar.end();
  return report;
}

int64_t header_bytes(const std::vector<TensorSpec>& specs, const SafetensorsMetadata& metadata) {
  return static_cast<int64_t>(safetensors_header(specs, metadata).size());
}

}  // namespace mxq
