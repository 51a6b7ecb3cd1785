// Regular expressions of tokenizer.json: the package tokenizers runs them by Oniguruma, mxq by PCRE2.
#pragma once

#include <string>
#include <string_view>

namespace mxq {

/// A pattern with which PCRE2 (UTF-8, newline LF) matches what Oniguruma matches with `pattern`. `operation` heads
/// errors. Throws Error(unsupported) naming what has no such pattern: \G \K \X, back references, absent operators,
/// conditions, calls, and characters whose other case is several characters; Error(invalid_file) for what is no pattern
/// at all.
std::string pcre2_of_oniguruma(std::string_view pattern, const std::string& operation);

}  // namespace mxq
