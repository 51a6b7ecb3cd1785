#include "model/gguf_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "format/ggml_blocks.h"
#include "format/weights.h"
#include "model/arch/architecture.h"
#include "model/gguf_groups.h"
#include "model/layer_tensors.h"
#include "model/tokenizer/spec_tokenizer.h"
#include "model/tokenizer/tokenizer_gguf.h"
#include "model/tokenizer_files.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr float kLargestF16 = 65504;
constexpr std::string_view kAnyExpert = "{}", kGateUpExperts = ".ffn_gate_up_exps.weight";

bool has_values_beyond_f16(const TensorView& view) {
  constexpr int64_t chunk = 1 << 20;  // a multiple of every block
  std::vector<float> values(static_cast<size_t>(std::min(chunk, view.elements())));
  for (int64_t begin = 0; begin < view.elements(); begin += chunk) {
    const int64_t count = std::min(chunk, view.elements() - begin);
    read_f32(view, begin, count, values.data());
    // Infinities and NaN are the same in any dtype.
    if (std::any_of(values.begin(), values.begin() + count,
                    [](float v) { return std::isfinite(v) && std::abs(v) > kLargestF16; })) {
      return true;
    }
  }
  return false;
}

}  // namespace

GgufSource::GgufSource(MappedGguf opened)
    : ModelSource(opened.files.front().path(), std::nullopt),
      files_(std::move(opened.files)),
      gguf_(std::move(opened.model)) {
  config_ = gguf_config(gguf_);
  const Architecture& architecture = *find_architecture(config_->architecture);
  const auto mtp_from = config_->mtp_layers > 0 ? std::optional(config_->num_hidden_layers) : std::nullopt;
  std::map<std::string, std::pair<HfName, std::vector<TensorView>>> in_pieces;
  const auto name_of = [&](std::string_view name) { return hf_name_from_gguf(architecture, name, mtp_from); };
  for (const TensorView& view : gguf_.tensors) {
    if (gguf_is_rope_table(view.name)) continue;
    // Some files have gate and up of all experts in one tensor.
    if (const size_t at = view.name.find(kGateUpExperts); at != std::string::npos) {
      const std::string layer = view.name.substr(0, at);
      const auto gate = name_of(layer + ".ffn_gate_exps.weight"), up = name_of(layer + ".ffn_up_exps.weight");
      if (gate && up && at + kGateUpExperts.size() == view.name.size()) {
        add_experts(*gate, view, 0, 2);
        add_experts(*up, view, 1, 2);
        continue;
      }
    }
    const auto known = name_of(view.name);
    if (!known) {
      throw Error(ErrorCode::unsupported, "read " + gguf_.source, fmt::format("tensor {}", in_quotes(view.name)),
                  "those of " + config_->architecture);
    }
    if (known->is_of_all_experts()) {
      add_experts(*known, view);
    } else if (known->pieces == 1) {
      add_tensor(*known, {view});
    } else {
      auto& [name, views] =
          in_pieces.try_emplace(known->name, *known, static_cast<size_t>(known->pieces)).first->second;
      views[static_cast<size_t>(known->piece)] = view;
    }
  }
  for (auto& [name, tensor] : in_pieces) {
    const auto& [known, views] = tensor;
    for (const auto& [piece, gguf] : {std::pair(0, known.tensor->gguf), {1, known.tensor->gguf_rest}}) {
      if (!views[static_cast<size_t>(piece)].name.empty()) continue;
      throw Error(ErrorCode::invalid_file, "read " + gguf_.source,
                  fmt::format("'{}' is there without '{}'", views[static_cast<size_t>(1 - piece)].name, gguf));
    }
    add_tensor(known, views);
  }
  check_complete();
}

void GgufSource::add_tensor(const HfName& known, std::vector<TensorView> views) {
  std::vector<int64_t> shape = views.front().shape;
  std::string stored_as(dtype_name(views.front().dtype));
  for (size_t i = 1; i < views.size(); ++i) {
    const TensorView& view = views[i];
    if (shape.empty() || view.shape.size() != shape.size() ||
        !std::equal(shape.begin() + 1, shape.end(), view.shape.begin() + 1)) {
      throw Error(ErrorCode::invalid_file, "read " + gguf_.source,
                  fmt::format("tensor '{}' has shape [{}]", view.name, fmt::join(view.shape, ", ")),
                  fmt::format("rows as '{}' has them", views.front().name));
    }
    shape.front() += view.shape.front();
    if (view.dtype != views.front().dtype) stored_as += fmt::format(", {}", dtype_name(view.dtype));
  }
  shape = shape_from_gguf(known.tensor, std::move(shape));
  auto placed = gguf_placement(*config_, known.tensor, shape, std::move(views), gguf_.source);
  add(known.name, placed.views.front().dtype, std::move(stored_as), std::move(shape));
  places_.push_back(std::move(placed));
}

// The matrices or biases of all experts of a layer, one behind the other.
void GgufSource::add_experts(const HfName& known, const TensorView& view, int64_t part, int64_t parts) {
  const int64_t experts = config_->mixture.experts;
  const bool biases = known.name.ends_with(".bias");
  if (view.shape.size() != (biases ? 2 : 3) || view.shape[0] != experts || view.shape[1] % parts != 0) {
    throw Error(ErrorCode::invalid_file, "read " + gguf_.source,
                fmt::format("tensor '{}' has shape [{}]", view.name, fmt::join(view.shape, ", ")),
                fmt::format("a {} for each of {} experts", biases ? "bias" : "matrix", experts));
  }
  const size_t bytes = view.bytes.size() / static_cast<size_t>(experts * parts);
  for (int64_t expert = 0; expert < experts; ++expert) {
    TensorView one = view;
    one.shape.erase(one.shape.begin());
    one.shape.front() /= parts;
    one.bytes = view.bytes.subspan(static_cast<size_t>(expert * parts + part) * bytes, bytes);
    std::string name = known.name;
    name.replace(name.find(kAnyExpert), kAnyExpert.size(), std::to_string(expert));
    add_tensor({std::move(name), known.tensor}, {std::move(one)});
  }
}

std::vector<fs::path> GgufSource::weight_files() const {
  std::vector<fs::path> paths;
  for (const MappedFile& file : files_) paths.push_back(file.path());
  return paths;
}

// Every tensor that the architecture cannot do without, in the shape that the configuration says.
void GgufSource::check_complete() const {
  const Architecture& architecture = *find_architecture(config_->architecture);
  const auto require = [&](const std::string& name, const std::vector<int64_t>& shape) {
    const SourceTensor* tensor = find(name);
    const std::string gguf_name = gguf_name_from_hf(architecture, name).value_or(name);
    if (!tensor) {
      throw Error(ErrorCode::invalid_file, "read " + gguf_.source, fmt::format("tensor '{}' is missing", gguf_name));
    }
    if (tensor->shape != shape) {
      throw Error(ErrorCode::invalid_file, "read " + gguf_.source,
                  fmt::format("tensor '{}' has shape [{}]", gguf_name, fmt::join(tensor->shape, ", ")),
                  fmt::format("[{}] by the metadata", fmt::join(shape, ", ")));
    }
  };
  const ModelConfig& c = *config_;
  const int64_t hidden = c.hidden_size;
  require("model.embed_tokens.weight", {c.vocab_size, hidden});
  require("model.norm.weight", {hidden});
  if (!c.tie_word_embeddings) require("lm_head.weight", {c.vocab_size, hidden});
  for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) {
    for (const NamedTensor& named : layer_tensors(c, layer)) {
      const LayerTensor& tensor = *named.tensor;
      const auto shape = tensor_shape(c, tensor);
      const std::string module = fmt::format("model.layers.{}.{}", layer, named.hf);
      require(module + std::string(tensor.hf_ending), shape);
      const bool of_mixture = tensor.of_expert() || tensor.part == LayerPart::router;
      if (of_mixture && c.has_bias(tensor.part)) require(module + ".bias", {shape.front()});
    }
  }
}

std::string GgufSource::config_json() const {
  return hf_config_json(*config_, DType::f16);
}

std::vector<std::string> GgufSource::notes() const {
  std::vector<std::string> notes = ModelSource::notes();
  if (std::string remark = word_rule_remark(gguf_); !remark.empty()) notes.push_back(std::move(remark));
  return notes;
}

std::unique_ptr<Tokenizer> GgufSource::open_tokenizer() const {
  return std::make_unique<SpecTokenizer>(tokenizer_spec(gguf_));
}

std::vector<std::pair<std::string, std::string>> GgufSource::side_files(std::vector<std::string>& notes) const {
  TokenizerFiles rebuilt;
  try {
    rebuilt = tokenizer_files(gguf_);
  } catch (const Error& error) {  // the weights are none the worse for it
    notes.push_back(fmt::format("no tokenizer files: {}", error.what()));
  }
  notes.insert(notes.end(), rebuilt.notes.begin(), rebuilt.notes.end());
  return {rebuilt.files.begin(), rebuilt.files.end()};
}

void GgufSource::read_range(const SourceTensor& tensor, int64_t first, int64_t count, float* out) const {
  place(tensor).read(first, count, tensor.cols(), out);
}

std::optional<std::span<const std::byte>> GgufSource::plain_bytes(const SourceTensor& tensor) const {
  const GgufPlacement& placed = place(tensor);
  if (!placed.is_plain() || is_ggml_block(placed.views.front().dtype)) return std::nullopt;
  return placed.views.front().bytes;
}

DType GgufSource::output_dtype(const SourceTensor& tensor) const {
  const GgufPlacement& placed = place(tensor);
  if (placed.values != GgufPlacement::same) return DType::f32;  // as it is computed
  const DType first = placed.views.front().dtype;
  const auto has = [&](auto&& is) { return std::any_of(placed.views.begin(), placed.views.end(), is); };
  if (has([](const TensorView& view) { return !is_ggml_block(view.dtype); })) {
    return has([&](const TensorView& view) { return view.dtype != first; }) ? DType::f32 : first;
  }
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = output_dtypes_.find(tensor.index); known != output_dtypes_.end()) return known->second;
  }
  const bool fits = !has([](const TensorView& view) { return has_values_beyond_f16(view); });
  done(tensor);
  const DType dtype = fits ? DType::f16 : DType::f32;
  const std::lock_guard lock(mutex_);
  output_dtypes_[tensor.index] = dtype;
  return dtype;
}

std::optional<QuantizedLayout> GgufSource::exact_layout(const SourceTensor& tensor) const {
  if (!place(tensor).is_plain() || tensor.shape.size() != 2) return std::nullopt;
  return exact_ggml_layout(place(tensor).views.front().dtype, tensor.rows(), tensor.cols());
}

QuantizedMatrix GgufSource::exact_groups(const SourceTensor& tensor) const {
  const TensorView& view = place(tensor).views.front();
  return exact_ggml_groups(view.dtype, *exact_layout(tensor), view.bytes);
}

void GgufSource::hash(const SourceTensor& tensor, ContentHash& hash) const {
  const GgufPlacement& placed = place(tensor);
  hash.add(fmt::format("{} {} [{}] [{}]", tensor.stored_as, static_cast<int>(placed.values),
                       fmt::join(placed.rows, " "), fmt::join(placed.columns, " ")));
  for (const TensorView& view : placed.views) hash.add(view.bytes);
}

int64_t GgufSource::stored_bytes(const SourceTensor& tensor) const {
  return place(tensor).bytes();
}

void GgufSource::done(const SourceTensor& tensor) const {
  for (const TensorView& view : place(tensor).views) advise_done(view.bytes);
}

}  // namespace mxq
