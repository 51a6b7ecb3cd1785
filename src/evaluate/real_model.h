// Tests on SmolLM2-135M and WikiText-2's tokens (data/smollm2-reference); skipped where either is absent.
#pragma once

#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "model/model_source.h"
#include "mxq/files.h"
#include "mxq/progress.h"
#include "shared_data.h"

namespace mxq {

class RealModel : public testing::Test {
 protected:
  void SetUp() override {
    MXQ_NEEDS_SHARED_DATA("smollm2-reference");
    const char* path = std::getenv("MXQ_SMOLLM2_GGUF");
    if (path == nullptr || !std::filesystem::exists(path)) GTEST_SKIP() << "MXQ_SMOLLM2_GGUF names no file";
    model_ = open_model(path);
    const std::string bytes = read_file(shared_data("smollm2-reference/wikitext2-test-joined.i32"));
    ids_.resize(bytes.size() / 4);
    std::memcpy(ids_.data(), bytes.data(), bytes.size());
    reference_ = nlohmann::json::parse(read_file(shared_data("smollm2-reference/reference.json")));
  }

  std::span<const int32_t> first(size_t n) const { return std::span(ids_).first(n); }

  std::unique_ptr<ModelSource> model_;
  std::vector<int32_t> ids_;
  nlohmann::json reference_;
  Progress silent_;
};

}  // namespace mxq
