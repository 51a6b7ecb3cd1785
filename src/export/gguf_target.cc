// A .gguf file for llama.cpp and what is built on it: every matrix in a type of its own.
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <map>
#include <unordered_map>
#include <utility>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "export/gguf_metadata.h"
#include "export/gguf_tensors.h"
#include "export/model_folder.h"
#include "export/target.h"
#include "format/gguf.h"
#include "format/gguf_writer.h"
#include "format/weights.h"
#include "model/arch/architecture.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "schemes/family.h"
#include "schemes/ggml/ggml.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

/// By which mxq knows its own files again.
constexpr const char* kVersionKey = "mxq.version";

bool is_written(const fs::path& path) {
  if (!fs::is_regular_file(fs::symlink_status(path))) return false;
  const MappedFile file(path);
  return parse_gguf(file.bytes(), path.string()).find(kVersionKey) != nullptr;
}

/// Of floats that are converted at a time.
constexpr int64_t kChunkElements = 1 << 22;

/// What llama.cpp calls a file of mostly that type (llama_ftype of llama.h).
uint32_t file_type(DType dtype) {
  switch (dtype) {
    case DType::f16:
      return 1;
    case DType::q4_0:
      return 2;
    case DType::q4_1:
      return 3;
    case DType::q8_0:
      return 7;
    case DType::q5_0:
      return 8;
    case DType::q5_1:
      return 9;
    case DType::q2_k:
      return 10;
    case DType::q3_k:
      return 12;
    case DType::q4_k:
      return 15;
    case DType::q5_k:
      return 17;
    case DType::q6_k:
      return 18;
    case DType::iq4_nl:
      return 25;
    case DType::iq4_xs:
      return 30;
    case DType::bf16:
      return 32;
    default:
      return 0;
  }
}

/// The type of a tensor that is not quantized: the file's that it comes from, where it is there as it is. llama.cpp
/// wants in F32 what it does not multiply by.
DType kept_dtype(const ModelSource& model, const GgufTensor& tensor) {
  if (tensor.stored) return tensor.stored->dtype;
  return tensor.is_matrix() ? model.output_dtype(*tensor.parts.front()) : DType::f32;
}

/// The file's tensors: those that stay, and then the planned ones in the order in which they are made.
struct Contents {
  struct Kept {
    GgufTensor tensor;
    DType dtype = DType::f32;
  };
  struct Planned {
    GgufTensor tensor;
    std::vector<size_t> matrices;  // their places in `matrices`: of each part
  };
  std::vector<Kept> kept;
  std::vector<Planned> planned;

  Contents(const ModelSource& model, const std::vector<const SourceTensor*>& matrices,
           std::vector<std::string>& notes) {
    std::unordered_map<const SourceTensor*, size_t> places;
    for (size_t i = 0; i < matrices.size(); ++i) places.emplace(matrices[i], i);
    std::vector<bool> found(matrices.size());
    for (GgufTensor& tensor : gguf_tensors(model, notes)) {
      Planned whole;
      const SourceTensor* missing = nullptr;
      for (const SourceTensor* part : tensor.parts) {
        const auto place = places.find(part);
        if (place == places.end()) {
          missing = part;
        } else {
          whole.matrices.push_back(place->second);
        }
      }
      if (whole.matrices.empty()) {
        const DType dtype = kept_dtype(model, tensor);
        kept.push_back({std::move(tensor), dtype});
        continue;
      }
      if (missing != nullptr) {
        refuse(fmt::format("'{}' without the matrix '{}', with which it is one tensor",
                           matrices[whole.matrices.front()]->matrix_name(), missing->matrix_name()),
               "all experts of a layer planned, or --skip of them all");
      }
      if (!tensor.is_matrix() || !tensor.columns.empty()) {
        refuse(fmt::format("'{}' as a matrix that is quantized", tensor.name),
               "--skip, which leaves the matrix as it is");
      }
      for (const size_t place : whole.matrices) found[place] = true;
      whole.tensor = std::move(tensor);
      planned.push_back(std::move(whole));
    }
    const auto nameless = std::find(found.begin(), found.end(), false);
    if (nameless != found.end()) {
      const auto place = static_cast<size_t>(nameless - found.begin());
      refuse(fmt::format("matrix '{}', for which the format has no name", matrices[place]->matrix_name()),
             "--skip, which leaves the matrix as it is");
    }
    const auto first = [](const Planned& p) { return *std::min_element(p.matrices.begin(), p.matrices.end()); };
    std::stable_sort(planned.begin(), planned.end(),
                     [&](const Planned& a, const Planned& b) { return first(a) < first(b); });
  }

  /// `dtypes`: of the matrices.
  std::vector<GgufTensorSpec> specs(const std::vector<DType>& dtypes) const {
    std::vector<GgufTensorSpec> all;
    for (const Kept& k : kept) all.push_back({k.tensor.name, k.dtype, k.tensor.shape});
    for (const Planned& p : planned) {
      const DType dtype = dtypes[p.matrices.front()];
      for (const size_t matrix : p.matrices) {
        if (dtypes[matrix] == dtype) continue;
        refuse(fmt::format("'{}' in both {} and {}", p.tensor.name, dtype_name(dtype), dtype_name(dtypes[matrix])),
               "one type for all experts of a layer");
      }
      all.push_back({p.tensor.name, dtype, p.tensor.shape});
    }
    return all;
  }

 private:
  [[noreturn]] static void refuse(std::string given, std::string allowed) {
    throw Error(ErrorCode::unsupported, "write GGUF", std::move(given), std::move(allowed));
  }
};

/// The matrices of an export, made when they are first asked for and dropped when all tensors have had them.
class MadeMatrices {
 public:
  MadeMatrices(const std::vector<ExportMatrix>& matrices, const std::vector<Contents::Planned>& tensors)
      : matrices_(matrices), uses_(matrices.size()) {
    for (const auto& tensor : tensors) {
      for (const size_t matrix : tensor.matrices) ++uses_[matrix];
    }
  }

  QuantizedMatrix take(size_t matrix) {
    if (--uses_[matrix] > 0) return kept_.try_emplace(matrix, matrices_[matrix].make()).first->second;
    if (auto found = kept_.extract(matrix)) return std::move(found.mapped());
    return matrices_[matrix].make();
  }

 private:
  const std::vector<ExportMatrix>& matrices_;
  std::vector<int> uses_;
  std::unordered_map<size_t, QuantizedMatrix> kept_;
};

std::vector<GgufEntry> entries(const ModelSource& model, uint32_t type, std::vector<std::string>& notes) {
  auto all = gguf_metadata(model, notes);
  all.push_back({"general.file_type", type});
  all.push_back({kVersionKey, std::string(MXQ_VERSION)});
  return all;
}

void write_kept(const ModelSource& model, const Contents::Kept& kept, GgufWriter& writer,
                std::vector<std::string>& notes) {
  const GgufTensor& tensor = kept.tensor;
  if (tensor.stored) return writer.write(tensor.stored->bytes);
  const int64_t rows = tensor.row_count(), size = tensor.row_size();
  const int64_t step = std::max<int64_t>(1, kChunkElements / std::max<int64_t>(1, size));
  std::vector<float> values(static_cast<size_t>(std::min(step, rows) * size));
  std::vector<std::byte> bytes;
  int64_t zeros = 0;
  for (int64_t first = 0; first < rows; first += step) {
    const int64_t count = std::min(step, rows - first);
    read_gguf_rows(model, tensor, first, count, values.data());
    int64_t fell = 0;
    if (first_overflow(values.data(), count * size, kept.dtype, fell) >= 0) {
      throw Error(ErrorCode::unsupported, "write GGUF",
                  fmt::format("'{}' holds numbers that {} has not", tensor.name, dtype_name(kept.dtype)),
                  "numbers that it can hold");
    }
    zeros += fell;
    bytes.resize(static_cast<size_t>(dtype_bytes(kept.dtype, count * size)));
    write_dtype(values.data(), count * size, kept.dtype, bytes.data());
    writer.write(bytes);
  }
  for (const SourceTensor* part : tensor.parts) model.done(*part);
  note_zeros(tensor.name, zeros, rows * size, kept.dtype, notes);
}

/// The rows of a matrix that the tensor has of it, in its order.
void write_rows(const GgufTensor& tensor, const QuantizedMatrix& matrix, GgufWriter& writer) {
  const auto blocks = matrix.part("blocks");
  if (tensor.rows.empty()) return writer.write(blocks);
  const auto row = static_cast<size_t>(std::ssize(blocks) / matrix.layout.rows);
  std::vector<std::byte> ordered;
  ordered.reserve(tensor.rows.size() * row);
  for (const int64_t r : tensor.rows) {
    const auto from = blocks.subspan(static_cast<size_t>(r) * row, row);
    ordered.insert(ordered.end(), from.begin(), from.end());
  }
  writer.write(ordered);
}

class GgufTarget final : public Target {
 public:
  std::string_view name() const override { return "gguf"; }

  std::vector<Scheme> usual_schemes() const override {
    std::vector<Scheme> all;
    for (const SchemeFamily* family : ggml_families()) all.push_back(family->schemes().front());
    return all;
  }
  std::optional<Normalize> usual_normalize() const override { return Normalize::none; }
  bool plans_embeddings() const override { return true; }

  void check(const QuantizeOptions& options, std::span<const Scheme> schemes) const override {
    std::vector<std::string> known;
    for (const Scheme& scheme : usual_schemes()) known.push_back(scheme.name());
    for (const Scheme& scheme : schemes) {
      if (!ggml_dtype(scheme)) refuse("schemes", scheme.name(), fmt::format("{}", fmt::join(known, ", ")));
    }
    if (options.fit != Fit::gptq && options.fit != Fit::mse) refuse("fit", fit_name(options.fit), "gptq or mse");
    if (options.normalize != Normalize::none) refuse("normalize", normalize_name(options.normalize), "none");
    if (options.axis != 1) refuse("axis", "0", "1");
    if (options.feedback.order != ColumnOrder::left) {
      refuse("column-order", column_order_name(options.feedback.order), "left");
    }
    if (options.feedback.zero_point != ZeroPoint::real) {
      refuse("zero-point", zero_point_name(options.feedback.zero_point), "real");
    }
  }

  std::vector<std::string_view> ties() const override { return {kExpertStacks}; }

  void check_model(const ModelSource& model) const override {
    std::vector<std::string> notes;
    gguf_tensors(model, notes);
    gguf_metadata(model, notes);
  }

  bool holds(const Scheme& scheme, const QuantizeOptions&, int64_t, int64_t cols) const override {
    return ggml_dtype(scheme).has_value() && cols % family_of(scheme.family).block_columns() == 0;
  }

  /// With the padding behind it. Experts of a stack share one, so where those of each come to something (rows of 34
  /// bytes, say, and 24 of them) the stack takes less.
  int64_t matrix_bytes(const Scheme& scheme, const QuantizeOptions& options, int64_t rows,
                       int64_t cols) const override {
    return gguf_padded(storage_bytes(scheme, options, rows, cols));
  }

  RestBytes rest(const ModelSource& model, const std::vector<const SourceTensor*>& matrices) const override {
    std::vector<std::string> notes;
    const Contents contents(model, matrices, notes);
    // All types are numbers of one width.
    const auto specs = contents.specs(std::vector<DType>(matrices.size(), DType::f32));
    RestBytes bytes;
    for (size_t i = 0; i < contents.kept.size(); ++i) bytes.tensors += gguf_padded(specs[i].bytes());
    bytes.headers = std::ssize(gguf_header(entries(model, 0, notes), specs));
    return bytes;
  }

  void check_output(const OutputPlace& out) const override {
    OutputFile(out.path, {"a GGUF file", "GGUF"}, out.inputs);
    std::error_code error;
    const auto size = fs::file_size(out.path, error);
    if (error || size == 0) return;
    const auto refuse = [&](const char* why, const char* allowed) {
      throw Error(ErrorCode::usage, "write " + out.path.string(), why, allowed);
    };
    if (!out.overwrite) refuse("it exists", "a new name, or --overwrite for what mxq wrote");
    if (!is_written(out.path)) refuse("a GGUF file that mxq did not write", "a new name");
  }

  void rename(const fs::path& made, const OutputPlace& out) const override {
    check_output(out);
    std::error_code error;
    fs::rename(made, out.path, error);
    if (error) throw Error(ErrorCode::io, "write " + out.path.string(), error.message());
    sync_folder(out.path.parent_path());
  }

  void remove(const fs::path& made) const noexcept override {
    try {
      if (is_written(made)) fs::remove(made);
    } catch (const std::exception&) {  // it stays
    }
  }

  WriteReport write(const Export& what, const OutputPlace& out, const WriteOptions&,
                    Progress* progress) const override {
    check_output(out);
    std::vector<const SourceTensor*> matrices;
    std::vector<DType> dtypes;
    std::map<DType, int64_t> weights;
    int64_t work = 0;
    for (const ExportMatrix& matrix : what.matrices) {
      matrices.push_back(matrix.tensor);
      dtypes.push_back(ggml_dtype(matrix.layout.scheme).value());
      weights[dtypes.back()] += matrix.tensor->elements();
      work += matrix.tensor->elements();
    }
    const auto most = std::max_element(weights.begin(), weights.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    WriteReport report;
    const Contents contents(what.model, matrices, report.notes);
    const auto header = entries(what.model, weights.empty() ? 1 : file_type(most->first), report.notes);
    const auto specs = contents.specs(dtypes);
    GgufWriter writer(out.path, header, specs);
    Progress& bar = or_silent(progress);
    bar.begin("write", work);
    for (const auto& kept : contents.kept) write_kept(what.model, kept, writer, report.notes);
    MadeMatrices made(what.matrices, contents.planned);
    work = 0;
    for (size_t i = 0; i < contents.planned.size(); ++i) {
      const auto& [tensor, parts] = contents.planned[i];
      for (const size_t part : parts) {
        write_rows(tensor, made.take(part), writer);
        bar.update(work += tensor.row_count() / std::ssize(parts) * tensor.row_size());
      }
      report.matrix_bytes += gguf_padded(specs[contents.kept.size() + i].bytes());
    }
    check_output(out);
    writer.commit();
    bar.end();
    report.files[out.path.filename().string()] = gguf_file_bytes(header, specs);
    return report;
  }
};

}  // namespace

const Target& gguf_target() {
  static const GgufTarget target;
  return target;
}

}  // namespace mxq
