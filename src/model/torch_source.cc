#include "model/torch_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "format/weights.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kChunkElements = int64_t{1} << 20;

/// Takes away an output matrix that is the tied embedding.
void remove_tied_head(TorchModel& model) {
  if (!model.config || !model.config->tie_word_embeddings) return;
  const TensorView *head = nullptr, *embedding = nullptr;
  for (const TensorView& view : model.files.store.tensors()) {
    const std::string_view name = view.name;
    if (name == "lm_head.weight" || name.ends_with(".lm_head.weight")) head = &view;
    if (name == "embed_tokens.weight" || name.ends_with(".embed_tokens.weight")) embedding = &view;
  }
  const bool tied = head != nullptr && embedding != nullptr && head->bytes.data() == embedding->bytes.data() &&
                    head->bytes.size() == embedding->bytes.size() && head->shape == embedding->shape;
  if (!tied) return;
  model.files.strides.erase(head->name);
  model.files.store.remove(std::string(head->name));
}

/// The files, taken out of the model but for their strides.
StoredModel take_files(TorchModel& model, const fs::path& path) {
  for (const auto& [name, strides] : model.files.strides) {
    if (strides.size() < 3 || name.find(".experts.") == std::string::npos) continue;
    throw Error(ErrorCode::unsupported, "open " + path.string(),
                fmt::format("the stack of experts {} does not lie row by row", in_quotes(name)),
                "tensors after contiguous()");
  }
  remove_tied_head(model);
  const auto strides = model.files.strides;
  StoredModel files = std::move(model.files);
  model.files.strides = strides;
  return files;
}

/// What belongs to a model beside a file of weights, whatever else lies there.
bool belongs_to_tokenizer(const std::string& name) {
  static constexpr std::array<std::string_view, 9> begins{
      "tokenizer",         "special_tokens_map", "added_tokens", "vocab",        "merges",
      "generation_config", "chat_template",      "spiece",       "sentencepiece"};
  return std::any_of(begins.begin(), begins.end(), [&](std::string_view begin) { return name.starts_with(begin); });
}

}  // namespace

TorchSource::TorchSource(const fs::path& path, TorchModel model)
    : SafetensorsSource(path, model.config, model.config_json, take_files(model, path)),
      folder_(model.folder),
      alone_(folder_ != path || !model.row_orders.empty()) {
  for (const SourceTensor& tensor : tensors()) {
    const TensorView& view = this->view(tensor);
    const auto strides = model.files.strides.find(view.name);
    const auto order = model.row_orders.find(view.name);
    if (strides == model.files.strides.end() && order == model.row_orders.end()) continue;
    StridedRows rows{.shape = tensor.shape, .strides = {}, .bytes = view.bytes, .unit = dtype_block_bytes(view.dtype)};
    if (strides != model.files.strides.end()) {
      rows.strides = strides->second;
    } else {
      rows.strides = {tensor.cols(), 1};  // a matrix: only those have an order
    }
    if (order != model.row_orders.end()) rows.order = order->second;
    strided_.emplace(tensor.index, std::move(rows));
  }
}

const StridedRows* TorchSource::strided(const SourceTensor& tensor) const {
  const auto found = strided_.find(tensor.index);
  return found == strided_.end() ? nullptr : &found->second;
}

template <typename Use>
void TorchSource::for_rows(const StridedRows& rows, int64_t first, int64_t count, int64_t width, const Use& use) const {
  const int64_t step = std::max<int64_t>(32, kChunkElements / std::max<int64_t>(width, 1));
  std::vector<std::byte> bytes(static_cast<size_t>(std::min(step, count) * width * rows.unit));
  for (int64_t begin = 0; begin < count; begin += step) {
    const int64_t some = std::min(step, count - begin);
    rows.gather(first + begin, some, bytes.data());
    use(begin, std::span<const std::byte>(bytes).first(static_cast<size_t>(some * width * rows.unit)));
  }
}

void TorchSource::read_range(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const {
  const StridedRows* rows = strided(tensor);
  if (rows == nullptr || tensor.elements() == 0) return SafetensorsSource::read_range(tensor, first, count, out);
  const int64_t width = tensor.cols();
  for_rows(*rows, first, count, width, [&](int64_t begin, std::span<const std::byte> bytes) {
    const auto some = static_cast<int64_t>(bytes.size()) / rows->unit;
    read_f32({tensor.stored_name, tensor.dtype, {some}, bytes}, 0, some, out + begin * width);
  });
}

std::optional<std::span<const std::byte>> TorchSource::plain_bytes(const SourceTensor& tensor) const {
  const StridedRows* rows = strided(tensor);
  if (rows == nullptr) return SafetensorsSource::plain_bytes(tensor);
  if (tensor.dtype == DType::f32 || tensor.dtype == DType::f16 || tensor.dtype == DType::bf16) return std::nullopt;
  const std::lock_guard lock(mutex_);
  auto& bytes = gathered_[tensor.index];
  if (bytes.empty()) {
    bytes.resize(static_cast<size_t>(stored_bytes(tensor)));
    rows->gather(0, tensor.rows(), bytes.data());
  }
  return bytes;
}

void TorchSource::hash(const SourceTensor& tensor, ContentHash& hash) const {
  const StridedRows* rows = strided(tensor);
  if (rows == nullptr) return SafetensorsSource::hash(tensor, hash);
  hash.add(tensor.stored_as);
  for_rows(*rows, 0, tensor.rows(), tensor.cols(), [&](int64_t, std::span<const std::byte> bytes) { hash.add(bytes); });
}

int64_t TorchSource::stored_bytes(const SourceTensor& tensor) const {
  const StridedRows* rows = strided(tensor);
  return rows == nullptr ? SafetensorsSource::stored_bytes(tensor) : tensor.elements() * rows->unit;
}

std::vector<std::pair<std::string, std::string>> TorchSource::side_files(std::vector<std::string>&) const {
  if (folder_.empty()) return {};
  if (!alone_) return hf_side_files(folder_);
  return hf_side_files(folder_, belongs_to_tokenizer);
}

std::unique_ptr<Tokenizer> TorchSource::open_tokenizer() const {
  return mxq::open_tokenizer(folder_.empty() ? path() : folder_);
}

}  // namespace mxq
