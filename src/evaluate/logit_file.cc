#include "evaluate/logit_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <cstring>
#include <span>
#include <string_view>

#include "base/content_hash.h"
#include "mxq/error.h"

namespace mxq {

namespace {

constexpr std::string_view kMagic = kLogitFile.beginning;
constexpr uint64_t kVersion = 2;
constexpr size_t kHeaderBytes = 64;
constexpr size_t kVersionAt = 8, kHashAt = 16, kHashBytes = 32, kRowsAt = 48, kVocabAt = 56;
constexpr const char* kRemedy = "what --base-logits wrote, or no such file: it is written anew then";

using Header = std::array<char, kHeaderBytes>;

Header header_of(const LogitFileKey& key) {
  Header header{};
  const auto put = [&header](size_t at, const void* from, size_t size) { std::memcpy(header.data() + at, from, size); };
  put(0, kMagic.data(), kMagic.size());
  put(kVersionAt, &kVersion, sizeof kVersion);
  put(kHashAt, key.hash.data(), std::min(key.hash.size(), kHashBytes));
  put(kRowsAt, &key.rows, sizeof(key.rows));
  put(kVocabAt, &key.vocab, sizeof(key.vocab));
  return header;
}

int64_t row_bytes(int64_t vocab) {
  return vocab * static_cast<int64_t>(sizeof(float)) + static_cast<int64_t>(sizeof(uint64_t));
}

/// What stands where the version does, in words: in version 1 the hash begins there.
std::string version_in(const std::byte* header) {
  std::array<char, sizeof kVersion> text;
  std::memcpy(text.data(), header + kVersionAt, text.size());
  if (std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isxdigit(c); })) return "1";
  return fmt::format("{}", std::bit_cast<uint64_t>(text));
}

}  // namespace

LogitFileWriter::LogitFileWriter(const OutputFile& path, const LogitFileKey& key)
    : file_(path.path()), vocab_(key.vocab) {
  const Header header = header_of(key);
  file_.write(std::as_bytes(std::span(header)));
}

void LogitFileWriter::append(const float* rows, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const auto row = std::as_bytes(std::span(rows + i * vocab_, static_cast<size_t>(vocab_)));
    const uint64_t sum = checksum(row, static_cast<uint64_t>(written_++));
    file_.write(row);
    file_.write(std::as_bytes(std::span(&sum, 1)));
  }
}

LogitFile::LogitFile(const std::filesystem::path& path, const LogitFileKey& key)
    : operation_("read logits " + path.string()), file_(path), vocab_(key.vocab) {
  const auto bytes = file_.bytes();
  if (bytes.size() < kHeaderBytes || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
    throw Error(ErrorCode::invalid_file, operation_, "no file of logits", kRemedy);
  }
  const Header expected = header_of(key);
  if (std::memcmp(bytes.data() + kVersionAt, expected.data() + kVersionAt, sizeof kVersion) != 0) {
    throw Error(ErrorCode::unsupported, operation_,
                fmt::format("version {} of the file of logits", version_in(bytes.data())),
                fmt::format("version {}, or no such file: it is written anew then", kVersion));
  }
  if (std::memcmp(bytes.data(), expected.data(), kHeaderBytes) != 0) {
    throw Error(ErrorCode::usage, operation_, "logits of another model, text, window or compute",
                "the same, or a file that is not there yet");
  }
  const auto size = static_cast<uint64_t>(key.rows) * static_cast<uint64_t>(row_bytes(key.vocab)) + kHeaderBytes;
  if (bytes.size() != size) {
    throw Error(ErrorCode::invalid_file, operation_, fmt::format("{} bytes", bytes.size()),
                fmt::format("{} bytes, or no such file: it is written anew then", size));
  }
}

const float* LogitFile::row(int64_t i) const {
  const std::byte* const begin = file_.bytes().data() + kHeaderBytes + i * row_bytes(vocab_);
  const std::span values(begin, static_cast<size_t>(vocab_) * sizeof(float));
  uint64_t stored;
  std::memcpy(&stored, begin + values.size(), sizeof stored);
  if (checksum(values, static_cast<uint64_t>(i)) != stored) {
    throw Error(ErrorCode::invalid_file, operation_, fmt::format("the logits of prediction {} are damaged", i),
                kRemedy);
  }
  return reinterpret_cast<const float*>(begin);
}

}  // namespace mxq
