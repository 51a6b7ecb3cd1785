// Unicode's normal forms.
#pragma once

#include <string>
#include <string_view>

namespace mxq {

enum class NormalForm { nfc, nfd, nfkc, nfkd };

/// Unicode Standard Annex 15 as of Unicode 9, like the package tokenizers. `text` must be UTF-8.
std::string to_normal_form(std::string_view text, NormalForm form);

inline std::string to_nfc(std::string_view text) {
  return to_normal_form(text, NormalForm::nfc);
}

}  // namespace mxq
