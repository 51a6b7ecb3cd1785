// A model's text decoder as a graph of ONNX's operators and onnxruntime's own (com.microsoft): what a folder for
// onnxruntime computes, with which weights.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/onnx.h"
#include "model/config.h"
#include "mxq/scheme.h"
#include "mxq/tensor.h"

namespace mxq {

/// A tensor of the model, as the file holds it. A quantized matrix is two there: NAME_codes, U8 [N, K / g, g b / 8],
/// and NAME_scales, [N, K / g] of `dtype`, with W = (code - 2^(b - 1)) * scale; codes are one dense stream of bits a
/// row.
struct OnnxWeight {
  std::string name;  // "model.layers.0.self_attn.q_proj.weight"
  DType dtype = DType::f16;
  std::vector<int64_t> shape;    // of the model
  std::optional<Scheme> scheme;  // of a quantized matrix
};

/// Whether MatMulNBits and GatherBlockQuantized have it: 2, 4 or 8 bits; groups of 16 to 256, of 2 bits 32 to 128, for
/// which alone onnxruntime has kernels.
bool is_onnx_scheme(const Scheme& scheme);
/// For messages.
const char* onnx_schemes();

inline constexpr std::string_view kOnnxCodes = "_codes", kOnnxScales = "_scales";
/// What the initializers are called and shaped; without data.
std::vector<OnnxTensor> onnx_initializers(const OnnxWeight& weight);

/// The graph's file in a folder, and how those end in which the weights lie.
inline constexpr std::string_view kOnnxFile = "model.onnx", kOnnxDataEnding = ".onnx.data";

/// MatMulNBits's attribute that says how its inputs may be rounded: 4, as the graph has it, to 8 bits; 1 not at all.
inline constexpr const char* kOnnxAccuracy = "accuracy_level";

/// Throws Error(unsupported), under `operation`, naming what the graph has no operators for: mixtures, linear
/// attention, rotary embeddings that depend on the length of the text, and what is in config.unsupported.
void check_onnx_config(const ModelConfig& config, const std::string& operation);

/// The version of the graphs that onnx_graph() makes, which is in their metadata under kOnnxGraphKey.
inline constexpr const char *kOnnxGraphKey = "mxq.graph", *kOnnxGraphVersion = "1";
inline constexpr const char* kOnnxProducer = "mxq";

/// The graph, with an initializer without data for each part of each weight, in the order of `weights`, and the few
/// numbers of its own. Inputs are input_ids and attention_mask (padding on the right) and past_key_values.N.key and
/// .value; outputs logits and present.N.key and .value: what optimum and onnxruntime-genai call them. The same for the
/// same arguments. The configuration has been checked. Throws Error(not_found) naming a tensor that the architecture
/// has and `weights` has not, under `operation`.
OnnxModel onnx_graph(const ModelConfig& config, const std::vector<OnnxWeight>& weights, const std::string& operation);

}  // namespace mxq
