#include "format/protobuf.h"

#include <fmt/format.h>

#include <bit>

#include "format/le_bytes.h"
#include "mxq/error.h"

namespace mxq {

namespace {

constexpr int kVarint = 0, kFixed64 = 1, kLength = 2, kFixed32 = 5;
constexpr int kTypeBits = 3, kPayloadBits = 7;
constexpr uint64_t kMostFields = (uint64_t{1} << 29) - 1;

}  // namespace

void ProtobufWriter::raw_varint(uint64_t value) {
  for (; value >= 0x80; value >>= kPayloadBits) bytes_ += static_cast<char>((value & 0x7F) | 0x80);
  bytes_ += static_cast<char>(value);
}

void ProtobufWriter::tag(int field, int wire_type) {
  raw_varint((static_cast<uint64_t>(field) << kTypeBits) | static_cast<uint64_t>(wire_type));
}

void ProtobufWriter::varint(int field, int64_t value) {
  tag(field, kVarint);
  raw_varint(static_cast<uint64_t>(value));
}

void ProtobufWriter::f32(int field, float value) {
  tag(field, kFixed32);
  const auto bits = std::bit_cast<uint32_t>(value);
  for (int shift = 0; shift < 32; shift += 8) bytes_ += static_cast<char>(bits >> shift);
}

void ProtobufWriter::text(int field, std::string_view value) {
  tag(field, kLength);
  raw_varint(value.size());
  bytes_ += value;
}

void ProtobufReader::fail(std::string given) const {
  throw Error(ErrorCode::invalid_file, operation_, fmt::format("{}: {}", what_, given), "a protobuf message");
}

uint64_t ProtobufReader::raw_varint() {
  constexpr int kMostBytes = 10;
  uint64_t value = 0;
  for (int i = 0; i < kMostBytes; ++i) {
    if (bytes_.empty()) fail("it ends within a number");
    const auto byte = std::to_integer<uint64_t>(bytes_.front());
    bytes_ = bytes_.subspan(1);
    value |= (byte & 0x7F) << (kPayloadBits * i);
    if (byte < 0x80) return value;
  }
  fail("a number of more than ten bytes");
}

bool ProtobufReader::next() {
  if (bytes_.empty()) return false;
  const uint64_t tag = raw_varint(), field = tag >> kTypeBits;
  if (field == 0 || field > kMostFields) fail(fmt::format("field {}", field));
  field_ = static_cast<int>(field);
  wire_type_ = static_cast<int>(tag & ((1U << kTypeBits) - 1));
  uint64_t length = 0;
  switch (wire_type_) {
    case kVarint:
      number_ = raw_varint();
      return true;
    case kFixed64:
      length = sizeof(uint64_t);
      break;
    case kFixed32:
      length = sizeof(uint32_t);
      break;
    case kLength:
      length = raw_varint();
      break;
    default:
      fail(fmt::format("field {} has the wire type {}", field_, wire_type_));
  }
  if (length > bytes_.size()) {
    fail(fmt::format("field {} has {} bytes, of which {} are there", field_, length, bytes_.size()));
  }
  value_ = bytes_.first(length);
  bytes_ = bytes_.subspan(length);
  return true;
}

void ProtobufReader::require(int wire_type) const {
  if (wire_type_ != wire_type) fail(fmt::format("field {} has the wire type {}", field_, wire_type_));
}

int64_t ProtobufReader::varint() const {
  require(kVarint);
  return static_cast<int64_t>(number_);
}

std::vector<int64_t> ProtobufReader::varints() const {
  if (wire_type_ == kVarint) return {varint()};
  std::vector<int64_t> numbers;
  for (ProtobufReader row(bytes(), operation_, what_); !row.bytes_.empty();) {
    numbers.push_back(static_cast<int64_t>(row.raw_varint()));
  }
  return numbers;
}

float ProtobufReader::f32() const {
  require(kFixed32);
  return std::bit_cast<float>(read_le<uint32_t>(value_.data()));
}

std::span<const std::byte> ProtobufReader::bytes() const {
  require(kLength);
  return value_;
}

std::string_view ProtobufReader::text() const {
  require(kLength);
  return {reinterpret_cast<const char*>(value_.data()), value_.size()};
}

void ProtobufReader::refuse_field() const {
  throw Error(ErrorCode::unsupported, operation_, fmt::format("{} has the field {}", what_, field_),
              "fields that mxq writes");
}

}  // namespace mxq
