// Numbers and sizes to and from text, the same everywhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mxq {

/// The whole of `text` as a number, locale-independent; nullopt for anything else (also for NaN and infinity).
std::optional<double> parse_double(std::string_view text);
std::optional<int64_t> parse_int(std::string_view text);

/// "4GiB", "4G", "1.5GB", "4e9": bytes. Units B, KB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB and K, M, G, T
/// (powers of 1024), any case. nullopt for anything else, also for negative sizes and those over 2^62.
std::optional<int64_t> parse_size(std::string_view text);

/// "83.4 MiB".
std::string format_size(int64_t bytes);

std::vector<std::string> split(std::string_view text, char separator);

}  // namespace mxq
