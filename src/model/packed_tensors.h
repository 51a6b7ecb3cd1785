// The tensors of a folder in which matrices are packed_columns.h's: found by name, their kinds checked.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "format/tensor_store.h"
#include "model/checkpoint_source.h"
#include "model/packed_columns.h"
#include "mxq/error.h"

namespace mxq {

/// "4 x 8".
std::string shape_text(const TensorView& view);

/// Those of one matrix. All throw Error(invalid_file) naming a tensor that is missing, and Error(unsupported) for one
/// of another kind.
class PackedTensors {
 public:
  PackedTensors(const TensorStore& store, std::string name, std::string operation)
      : store_(store), name_(std::move(name)), operation_(std::move(operation)) {}

  const std::string& name() const { return name_; }
  /// Null where there is none.
  const TensorView* find(std::string_view ending) const;
  /// Words of two dimensions, not empty.
  const TensorView& matrix(std::string_view ending) const;
  /// Floats of two dimensions, not empty.
  const TensorView& scales(std::string_view ending) const;

  [[noreturn]] void missing(std::string_view ending) const;
  [[noreturn]] void refuse(ErrorCode code, std::string given, std::string allowed) const;
  [[noreturn]] void refuse_dtype(const TensorView& view, const char* allowed) const;
  [[noreturn]] void wrong_shape(const TensorView& view, const char* allowed) const;

 private:
  const TensorView& in_two_dimensions(std::string_view ending) const;

  const TensorStore& store_;
  std::string name_, operation_;
};

/// The safetensors of a folder that says that its matrices are packed; nullopt where they are plain, and where nobody
/// says so: neither "quant_method" of config.json, nor, where that speaks of no quantized weights, a file `own`.
std::optional<TensorStore> open_packed_tensors(const std::filesystem::path& folder, const std::string& config_json,
                                               std::string_view method, const char* own, bool& own_says_it);

/// The folder whose config.json has the given text: a matrix for each NAME.qweight, as `read` finds it. `how`: what its
/// values depend on besides the tensors.
QuantizedFolder packed_folder(const std::filesystem::path& folder, const std::string& config_json, TensorStore store,
                              const std::string& how, const std::function<PackedColumns(const PackedTensors&)>& read);

}  // namespace mxq
