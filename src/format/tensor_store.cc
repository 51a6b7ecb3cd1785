#include "format/tensor_store.h"

#include <iterator>
#include <unordered_set>
#include <utility>

#include "mxq/error.h"

namespace mxq {

void TensorStore::add(std::shared_ptr<const MappedFile> file, std::vector<TensorView> tensors) {
  std::unordered_set<std::string_view> fresh;
  for (const TensorView& tensor : tensors) {
    if (!fresh.insert(tensor.name).second || find(tensor.name) != nullptr) {
      throw Error(ErrorCode::invalid_file, "read " + (file ? file->path().string() : "tensors"),
                  "tensor '" + tensor.name + "' is there twice", "each name once over all files of a model");
    }
  }
  files_.push_back(std::move(file));
  tensors_.reserve(tensors_.size() + tensors.size());
  for (TensorView& tensor : tensors) {
    index_.emplace(tensor.name, tensors_.size());
    tensors_.push_back(std::move(tensor));
  }
}

void TensorStore::remove(std::string_view name) {
  const auto found = index_.find(name);
  if (found == index_.end()) return;
  const size_t place = found->second;
  index_.erase(found);
  tensors_.erase(tensors_.begin() + static_cast<std::ptrdiff_t>(place));
  for (auto& [other, at] : index_) at -= at > place;
}

const TensorView* TensorStore::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace mxq
