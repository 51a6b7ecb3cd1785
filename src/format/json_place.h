// Where JSON is not as it should be, for messages.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "mxq/error.h"

namespace mxq {

/// "byte 7 (line 2, column 3)" of `text`; columns count bytes.
std::string json_place(std::string_view text, size_t byte);

/// Error(invalid_file) for text that is no JSON; `read` bytes of it were read, the last of which cannot stand there.
Error no_json(const std::string& operation, std::string_view text, size_t read);

}  // namespace mxq
