// genai_config.json: what onnxruntime-genai has to know of a model beside its graph.
#pragma once

#include <string>

#include "model/config.h"

namespace mxq {

/// For a graph of onnx_graph(), in the file `filename`. Text is generated greedily unless its user says otherwise.
std::string genai_config_json(const ModelConfig& config, const std::string& filename);

}  // namespace mxq
