// Any bytes as a tokenizer.json and, after a NUL, a text to encode with it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "model/tokenizer/bpe_tokenizer.h"
#include "model/tokenizer/tokenizer_json.h"
#include "mxq/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t nul = input.find('\0');
  const std::string_view json = input.substr(0, nul);
  const std::string_view text = nul == std::string_view::npos ? "Hello 12 <s>\n" : input.substr(nul + 1);
  try {
    const mxq::BpeTokenizer tokenizer(mxq::parse_tokenizer_json(json, "input", R"({"eos_token": "<s>"})", "config"));
    const auto ids = tokenizer.encode(text);
    for (const int32_t id : ids) {
      if (id < 0 || id >= tokenizer.vocab_size()) std::abort();
    }
    (void)tokenizer.decode(ids);
  } catch (const mxq::Error&) {
  }
  return 0;
}
