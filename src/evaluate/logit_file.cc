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
constexpr uint64_t kVersion = 3;
constexpr size_t kHeaderBytes = 64;
constexpr size_t kVersionAt = 8, kHashAt = 16, kHashBytes = 24, kRowsAt = 40, kVocabAt = 48, kSumAt = 56;
constexpr const char* kRemedy = "what --base-logits wrote, or no such file: it is written anew then";

using Header = std::array<char, kHeaderBytes>;

/// Without the checksum.
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
  return vocab * static_cast<int64_t>(sizeof(float));
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
    sum_ = checksum(row, sum_);
    file_.write(row);
  }
}

void LogitFileWriter::commit() {
  file_.overwrite(kSumAt, std::as_bytes(std::span(&sum_, 1)));
  file_.commit();
}

LogitFile::LogitFile(const std::filesystem::path& path, const LogitFileKey& key, Progress& progress)
    : file_(path), vocab_(key.vocab) {
  const std::string operation = "read logits " + path.string();
  const auto bytes = file_.bytes();
  if (bytes.size() < kHeaderBytes || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
    throw Error(ErrorCode::invalid_file, operation, "no file of logits", kRemedy);
  }
  const Header expected = header_of(key);
  if (std::memcmp(bytes.data() + kVersionAt, expected.data() + kVersionAt, sizeof kVersion) != 0) {
    throw Error(ErrorCode::unsupported, operation,
                fmt::format("version {} of the file of logits", version_in(bytes.data())),
                fmt::format("version {}, or no such file: it is written anew then", kVersion));
  }
  if (std::memcmp(bytes.data(), expected.data(), kSumAt) != 0) {
    throw Error(ErrorCode::usage, operation, "logits of another model, text, window or compute",
                "the same, or a file that is not there yet");
  }
  const auto size = static_cast<uint64_t>(key.rows) * static_cast<uint64_t>(row_bytes(key.vocab)) + kHeaderBytes;
  if (bytes.size() != size) {
    throw Error(ErrorCode::invalid_file, operation, fmt::format("{} bytes", bytes.size()),
                fmt::format("{} bytes, or no such file: it is written anew then", size));
  }
  progress.begin("read logits", key.rows);
  uint64_t sum = 0, stored = 0;
  for (int64_t i = 0; i < key.rows; ++i) {
    sum = checksum(std::as_bytes(std::span(row(i), static_cast<size_t>(vocab_))), sum);
    progress.update(i + 1);
  }
  progress.end();
  std::memcpy(&stored, bytes.data() + kSumAt, sizeof stored);
  if (sum != stored) throw Error(ErrorCode::invalid_file, operation, "the logits are damaged", kRemedy);
}

const float* LogitFile::row(int64_t i) const {
  return reinterpret_cast<const float*>(file_.bytes().data() + kHeaderBytes + i * row_bytes(vocab_));
}

}  // namespace mxq
