// Any bytes as a tokenizer.json and, each after a NUL, a text to encode with it, a tokenizer_config.json, a
// special_tokens_map.json, an added_tokens.json and a config.json.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "model/tokenizer/spec_tokenizer.h"
#include "model/tokenizer/tokenizer_json.h"
#include "mxq/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto next = [&](const char* otherwise) {
    if (input.empty()) return std::string(otherwise);
    const size_t nul = input.find('\0');
    const std::string part(input.substr(0, nul));
    input.remove_prefix(nul == std::string_view::npos ? input.size() : nul + 1);
    return part;
  };
  const std::string json = next(""), text = next("Hello 12 <s>\n");
  mxq::TokenizerSideFiles files;
  files.tokenizer_config = {next(R"({"eos_token": "<s>"})"), "config"};
  for (mxq::SideFile* file : {&files.special_tokens_map, &files.added_tokens, &files.model_config}) {
    if (!input.empty()) *file = {next(""), "file"};
  }
  try {
    const mxq::SpecTokenizer tokenizer(mxq::parse_tokenizer_json(json, "input", files));
    const auto ids = tokenizer.encode(text);
    for (const int32_t id : ids) {
      if (id < 0 || id >= tokenizer.vocab_size()) std::abort();
    }
    (void)tokenizer.decode(ids);
  } catch (const mxq::Error&) {
  }
  return 0;
}
