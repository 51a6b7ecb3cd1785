// The metadata of a GGUF that describe its model, checked as they are read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"

namespace mxq {

/// Keys under the architecture's prefix ("llama."). A value of another type or out of bounds is refused with
/// Error(invalid_file) that names key and value.
class GgufFields {
 public:
  /// `file` must outlive it.
  GgufFields(const GgufFile& file, std::string_view architecture)
      : file_(&file), prefix_(std::string(architecture) + ".") {}

  const GgufFile& file() const { return *file_; }
  std::string key(std::string_view name) const { return prefix_ + std::string(name); }
  bool contains(std::string_view name) const { return file_->find(key(name)) != nullptr; }

  /// One number a layer counts as a number as long as all are the same; otherwise throws Error(unsupported).
  std::optional<int64_t> find_int(std::string_view name, int64_t low, int64_t high) const;
  /// get_*: throws Error(invalid_file) where it is missing too.
  int64_t get_int(std::string_view name, int64_t low, int64_t high) const;
  /// Finite and above 0, as the shortest decimal of the file's float: 1e-05, not 9.999999747378752e-06.
  std::optional<double> find_positive(std::string_view name) const;
  double get_positive(std::string_view name) const;
  /// The same of what llama.cpp takes for missing where it is 0.
  std::optional<double> find_unless_0(std::string_view name) const;
  std::optional<std::string> find_string(std::string_view name) const;
  /// A list of true and false, or of 0 and 1; nullopt where the key is missing or no list.
  std::optional<std::vector<bool>> find_flags(std::string_view name) const;

  /// By the file's name; null where there is none.
  const TensorView* find_tensor(std::string_view name) const;
  /// A list of numbers that lies in an F32 tensor, each as its shortest decimal. Throws Error(invalid_file) for another
  /// dtype and for numbers that are not finite and above 0.
  std::vector<double> table(const TensorView& tensor) const;

 private:
  [[noreturn]] void missing(std::string_view name) const;

  const GgufFile* file_;
  std::string prefix_;
};

}  // namespace mxq
