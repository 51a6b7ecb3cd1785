// Named tensors over the mapped files that hold their bytes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mapped_file.h"
#include "mxq/tensor.h"

namespace mxq {

/// Owns the mappings, so its views live as long as the store (or whoever shares a file). Movable; a move leaves views
/// valid. Pointers and references to views are invalidated by add() and remove().
class TensorStore {
 public:
  /// `tensors` must point into `file` (which may be null for tensors without bytes). Throws Error(invalid_file), and
  /// adds nothing, if a name is there already or comes twice.
  void add(std::shared_ptr<const MappedFile> file, std::vector<TensorView> tensors);

  /// Takes a tensor away, where there is one of that name; its file stays.
  void remove(std::string_view name);

  /// In the order they were added.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  /// Null where there is none of that name.
  const TensorView* find(std::string_view name) const;
  const std::vector<std::shared_ptr<const MappedFile>>& files() const { return files_; }

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };

  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::vector<TensorView> tensors_;
  std::unordered_map<std::string, size_t, Hash, std::equal_to<>> index_;
};

}  // namespace mxq
