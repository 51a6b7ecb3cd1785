#include "evaluate/logit_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <string_view>

#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr std::string_view kMagic = kLogitFile.beginning;
constexpr size_t kHeaderBytes = 64;
constexpr size_t kHashAt = 8, kHashBytes = 32, kRowsAt = 40, kVocabAt = 48;

using Header = std::array<char, kHeaderBytes>;

Header header_of(const LogitFileKey& key) {
  Header header{};
  const auto put = [&header](size_t at, const void* from, size_t size) { std::memcpy(header.data() + at, from, size); };
  put(0, kMagic.data(), kMagic.size());
  put(kHashAt, key.hash.data(), std::min(key.hash.size(), kHashBytes));
  put(kRowsAt, &key.rows, sizeof(key.rows));
  put(kVocabAt, &key.vocab, sizeof(key.vocab));
  return header;
}

}  // namespace

LogitFileWriter::LogitFileWriter(const OutputFile& path, const LogitFileKey& key)
    : file_(path.path()), vocab_(key.vocab) {
  const Header header = header_of(key);
  file_.write(std::as_bytes(std::span(header)));
}

void LogitFileWriter::append(const float* rows, int64_t n) {
  file_.write(std::as_bytes(std::span(rows, static_cast<size_t>(n * vocab_))));
}

LogitFile::LogitFile(const std::filesystem::path& path, const LogitFileKey& key) : file_(path), vocab_(key.vocab) {
  const std::string operation = "read logits " + path.string();
  const auto bytes = file_.bytes();
  if (bytes.size() < kHeaderBytes || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
    throw Error(ErrorCode::invalid_file, operation, "no file of logits", "what --base-logits wrote");
  }
  const Header expected = header_of(key);
  if (std::memcmp(bytes.data(), expected.data(), kHeaderBytes) != 0) {
    throw Error(ErrorCode::usage, operation, "logits of another model, text, window or compute",
                "the same, or a file that is not there yet");
  }
  const auto size = static_cast<uint64_t>(key.rows) * static_cast<uint64_t>(key.vocab) * sizeof(float) + kHeaderBytes;
  if (bytes.size() != size) {
    throw Error(ErrorCode::invalid_file, operation, fmt::format("{} bytes", bytes.size()), fmt::format("{} bytes", size));
  }
}

const float* LogitFile::row(int64_t i) const {
  return reinterpret_cast<const float*>(file_.bytes().data() + kHeaderBytes) + i * vocab_;
}

}  // namespace mxq
