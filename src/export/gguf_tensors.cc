#include "export/gguf_tensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <utility>

#include "model/arch/architecture.h"
#include "model/gguf_config.h"
#include "model/gguf_names.h"
#include "model/layer_tensors.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr const char* kOperation = "write GGUF";
constexpr std::string_view kMtp = "mtp.", kLayers = "model.layers.";

// Buffers that are computed, not trained.
bool is_buffer(std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".attn.bias") || name.ends_with(".masked_bias");
}

// Towers for images and sound, which llama.cpp has in files of their own.
bool is_of_other_senses(std::string_view name) {
  static constexpr std::array<std::string_view, 5> words{"vision", "visual", "audio", "multi_modal", "multimodal"};
  return std::any_of(words.begin(), words.end(), [&](auto word) { return name.find(word) != name.npos; });
}

class Builder {
 public:
  Builder(const ModelSource& model, std::vector<std::string>& notes) : model_(model), notes_(notes) {
    if (!model.config()) {
      throw Error(ErrorCode::unsupported, kOperation, "a file of tensors alone", "a model with its configuration");
    }
    if (!has_gguf_architecture(*model.config())) gguf_config_entries(*model.config(), 0);  // throws
    config_ = &*model.config();
    architecture_ = find_architecture(config_->architecture);
  }

  std::vector<GgufTensor> build() {
    add("model.embed_tokens.weight", {config_->vocab_size, config_->hidden_size});
    for (GgufTable& table : gguf_tables(*config_)) {
      const auto count = static_cast<int64_t>(table.numbers.size());
      tensors_.push_back(
          {.name = std::move(table.name), .shape = {count}, .parts = {}, .table = std::move(table.numbers)});
    }
    for (int64_t layer = 0; layer < config_->num_hidden_layers; ++layer) add_layer(layer);
    if (gguf_mtp_layers(model_) > 0) add_mtp();
    add("model.norm.weight", {config_->hidden_size});
    if (!config_->tie_word_embeddings) add("lm_head.weight", {config_->vocab_size, config_->hidden_size});
    left_out();
    copy_stored();
    return std::move(tensors_);
  }

 private:
  // A tensor, or the same one of every expert, which are one in the file.
  void add(const std::vector<std::string>& names, const std::vector<int64_t>& shape) {
    const auto mtp_from = config_->num_hidden_layers;
    const auto known = find_gguf_name(*architecture_, names.front(), mtp_from);
    if (!known) refuse(names.front());
    GgufTensor tensor{.name = known->name, .shape = {}, .parts = {}};
    for (const std::string& name : names) tensor.parts.push_back(&part(name, shape));
    tensor.shape = shape_in_gguf(known->tensor, shape);
    const auto order = gguf_order(*config_, known->tensor, known->name, known->rest.empty());
    tensor.rows = inverse_order(order.rows);  // of tensors that are no experts': they have one part
    tensor.columns = inverse_order(order.columns);
    tensor.values = order.values;
    const bool expert = known->tensor != nullptr && known->tensor->of_expert();
    if (expert) tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(names.size()));
    if (known->rest.empty()) {
      tensors_.push_back(std::move(tensor));
      return;
    }
    // The first rows are those of queries, keys and values.
    GgufTensor rest = tensor;
    const int64_t first = config_->linear.channels();
    tensor.rows.resize(static_cast<size_t>(first));
    rest.rows.erase(rest.rows.begin(), rest.rows.begin() + first);
    tensor.shape.front() = first;
    rest.shape.front() -= first;
    rest.name = known->rest;
    tensors_.push_back(std::move(tensor));
    tensors_.push_back(std::move(rest));
  }
  void add(const std::string& name, const std::vector<int64_t>& shape) { add(std::vector{name}, shape); }

  void add_layer(int64_t layer) {
    const std::string prefix = fmt::format("{}{}.", kLayers, layer);
    const auto all = layer_tensors(*config_, layer);
    for (size_t i = 0; i < all.size();) {
      const LayerTensor& tensor = *all[i].tensor;
      const auto shape = tensor_shape(*config_, tensor);
      std::vector<std::string> weights, biases;
      for (; i < all.size() && all[i].tensor == &tensor; ++i) {
        weights.push_back(prefix + all[i].hf + std::string(tensor.hf_ending));
        biases.push_back(prefix + all[i].hf + ".bias");
      }
      add(weights, shape);
      if (config_->has_bias(tensor.part)) add(biases, {shape.front()});
    }
  }

  // Of any shape: mxq does not run them.
  void add_mtp() {
    for (const SourceTensor& tensor : model_.tensors()) {
      if (!tensor.name.starts_with(kMtp)) continue;
      const auto known = find_gguf_name(*architecture_, tensor.name, config_->num_hidden_layers);
      if (!known) refuse(tensor.stored_name);
      if (known->tensor == nullptr || !known->tensor->of_expert()) {
        add(tensor.name, tensor.shape);
      } else if (const size_t at = tensor.name.find(".experts.0."); at != std::string::npos) {
        std::vector<std::string> names;
        for (int64_t expert = 0; expert < config_->mixture.experts; ++expert) {
          std::string name = tensor.name;
          names.push_back(
              name.replace(at, std::string_view(".experts.0.").size(), fmt::format(".experts.{}.", expert)));
        }
        add(names, tensor.shape);
      }
    }
  }

  const SourceTensor& part(const std::string& name, const std::vector<int64_t>& shape) {
    const SourceTensor* const tensor = model_.find(name);
    if (tensor == nullptr) {
      throw Error(ErrorCode::invalid_file, kOperation, fmt::format("tensor '{}' is missing", name));
    }
    if (tensor->shape != shape) {
      throw Error(ErrorCode::invalid_file, kOperation,
                  fmt::format("tensor '{}' has shape [{}]", name, fmt::join(tensor->shape, ", ")),
                  fmt::format("[{}] by the config", fmt::join(shape, ", ")));
    }
    used_.insert(tensor);
    return *tensor;
  }

  [[noreturn]] void refuse(const std::string& name) const {
    throw Error(ErrorCode::unsupported, kOperation, fmt::format("tensor {}", in_quotes(name)),
                fmt::format("those that GGUF has of {}", architecture_->written_gguf_name()));
  }

  // Every tensor that is left is known to change nothing in what is written, or refused.
  void left_out() {
    std::vector<std::string> senses, unused;
    for (const SourceTensor& tensor : model_.tensors()) {
      const std::string& name = tensor.name;
      const bool tied = config_->tie_word_embeddings && name == "lm_head.weight";
      if (used_.contains(&tensor) || tied || is_buffer(name)) continue;
      if (name.starts_with(kLayers) || name.starts_with(kMtp)) {
        unused.push_back(tensor.stored_name);
      } else if (is_of_other_senses(tensor.stored_name)) {
        senses.push_back(tensor.stored_name);
      } else {
        refuse(tensor.stored_name);
      }
    }
    const auto say = [&](const std::vector<std::string>& names, const char* why) {
      if (names.empty()) return;
      notes_.push_back(
          fmt::format("the GGUF leaves out {} tensors, such as '{}': {}", names.size(), names.front(), why));
    };
    say(senses, "it holds the model of text only");
    say(unused, "the model does not use them by its configuration");
  }

  // What the model's own GGUF has under the same name, of the same shape and with the same order of rows.
  void copy_stored() {
    const GgufFile* const file = model_.gguf();
    if (file == nullptr) return;
    for (GgufTensor& tensor : tensors_) {
      const auto& parts = tensor.parts;
      if (std::any_of(parts.begin(), parts.end(), [&](const auto* part) { return model_.is_changed(*part); })) continue;
      const auto found = std::find_if(file->tensors.begin(), file->tensors.end(),
                                      [&](const TensorView& view) { return view.name == tensor.name; });
      if (found != file->tensors.end() && found->shape == tensor.shape) tensor.stored = *found;
    }
  }

  const ModelSource& model_;
  std::vector<std::string>& notes_;
  const ModelConfig* config_ = nullptr;
  const Architecture* architecture_ = nullptr;
  std::vector<GgufTensor> tensors_;
  std::set<const SourceTensor*> used_;
};

void read_in_order(const ModelSource& model, const GgufTensor& tensor, int64_t first, int64_t count, float* out) {
  while (count > 0) {
    const auto [part, row] = tensor.place(first);
    const int64_t run = std::min(count, part->rows() - row);
    model.read_rows(*part, row, run, out);
    out += run * tensor.row_size();
    first += run;
    count -= run;
  }
}

// Rows that belong together lie near one another: read with what is between them, unless that is more than they are.
void read_by_order(const ModelSource& model, const GgufTensor& tensor, int64_t first, int64_t count, float* out) {
  if (count == 0) return;
  const SourceTensor& part = *tensor.parts.front();
  const int64_t width = tensor.row_size();
  const auto begin = tensor.rows.begin() + first, end = begin + count;
  const int64_t low = *std::min_element(begin, end), span = *std::max_element(begin, end) - low + 1;
  if (span <= 2 * count) {
    std::vector<float> all(static_cast<size_t>(span * width));
    model.read_rows(part, low, span, all.data());
    for (auto row = begin; row != end; ++row, out += width) std::copy_n(all.data() + (*row - low) * width, width, out);
    return;
  }
  for (auto row = begin; row != end; ++row, out += width) model.read_rows(part, *row, 1, out);
}

}  // namespace

int64_t GgufTensor::row_count() const {
  if (parts.empty()) return 1;
  if (!rows.empty()) return static_cast<int64_t>(rows.size());
  int64_t count = 0;
  for (const SourceTensor* part : parts) count += part->rows();
  return count;
}

int64_t GgufTensor::row_size() const {
  return parts.empty() ? static_cast<int64_t>(table.size()) : parts.front()->cols();
}

std::pair<const SourceTensor*, int64_t> GgufTensor::place(int64_t row) const {
  if (!rows.empty()) row = rows.at(static_cast<size_t>(row));
  // Parts are alike.
  const int64_t each = parts.front()->rows();
  return {parts.at(static_cast<size_t>(row / each)), row % each};
}

bool GgufTensor::is_matrix() const {
  return !parts.empty() && parts.front()->matrix.has_value() && shape.size() >= 2 && shape.back() == row_size();
}

std::vector<GgufTensor> gguf_tensors(const ModelSource& model, std::vector<std::string>& notes) {
  return Builder(model, notes).build();
}

int64_t gguf_mtp_layers(const ModelSource& model) {
  // llama.cpp has one such layer of Qwen3.5, and mxq reads one.
  if (!model.config() || model.config()->mtp_layers != 1) return 0;
  const Architecture* const architecture = find_architecture(model.config()->architecture);
  int64_t layers = 0;
  for (const SourceTensor& tensor : model.tensors()) {
    if (!tensor.name.starts_with(kMtp)) continue;
    if (!find_gguf_name(*architecture, tensor.name, model.config()->num_hidden_layers)) return 0;
    layers = 1;
  }
  return layers;
}

void read_gguf_rows(const ModelSource& model, const GgufTensor& tensor, int64_t first, int64_t count, float* out) {
  const int64_t width = tensor.row_size();
  if (first < 0 || count < 0 || first > tensor.row_count() || count > tensor.row_count() - first) {
    throw Error(ErrorCode::usage, fmt::format("read tensor '{}'", tensor.name),
                fmt::format("{} rows from row {} on", count, first), fmt::format("{} rows in all", tensor.row_count()));
  }
  if (tensor.parts.empty()) {
    if (count > 0) std::copy(tensor.table.begin(), tensor.table.end(), out);
    return;
  }
  if (tensor.rows.empty()) {
    read_in_order(model, tensor, first, count, out);
  } else {
    read_by_order(model, tensor, first, count, out);
  }
  to_gguf_values(tensor.values, {out, static_cast<size_t>(count * width)});
  if (tensor.columns.empty()) return;
  std::vector<float> given(static_cast<size_t>(width));
  for (int64_t r = 0; r < count; ++r) {
    std::copy_n(out + r * width, width, given.begin());
    for (int64_t k = 0; k < width; ++k) {
      out[r * width + k] = given[static_cast<size_t>(tensor.columns[static_cast<size_t>(k)])];
    }
  }
}

}  // namespace mxq
