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
/// parse_size() of what option `name` was given; Error(usage) for no size and for one below `least`.
int64_t size_of_option(std::string_view name, std::string_view text, int64_t least = 1);

/// "83.4 MiB".
std::string format_size(int64_t bytes);

std::vector<std::string> split(std::string_view text, char separator);

/// `text` as one line that any terminal may be given: control characters (C0, DEL, C1), line and paragraph separators,
/// marks of writing direction and bytes that are not UTF-8 are spelt out: \n, \x1b, \u202e. Longer than `most` bytes,
/// it is cut between characters and ends in "...". Printable text stays as it is, so that twice is as good as once.
std::string printable(std::string_view text, size_t most = std::string_view::npos);
/// 'name', printable and cut to a length that fits an error message.
std::string in_quotes(std::string_view name);
/// printable(), uncut, for text of several lines: newlines and tabs stay.
std::string printable_lines(std::string_view text);

/// Of the names, the one that takes the fewest letters to insert, remove or change to become `name` (Levenshtein), at
/// most `most` of them; of several the first. nullopt where there is none.
std::optional<std::string> nearest_name(std::string_view name, const std::vector<std::string>& names,
                                        size_t most = std::string_view::npos);

}  // namespace mxq
