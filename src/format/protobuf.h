// Protocol Buffers on the wire: fields by number, without a schema. docs: protobuf.dev, "Encoding".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mxq {

/// One message, as bytes.
class ProtobufWriter {
 public:
  void varint(int field, int64_t value);
  void f32(int field, float value);
  void text(int field, std::string_view value);
  void message(int field, const ProtobufWriter& value) { text(field, value.bytes_); }

  const std::string& bytes() const { return bytes_; }

 private:
  void raw_varint(uint64_t value);
  void tag(int field, int wire_type);

  std::string bytes_;
};

/// The fields of one message, one after the other. Every length is checked against the bytes that are there.
class ProtobufReader {
 public:
  /// `what` names the message in errors ("a node"). `bytes` and `operation` must outlive the reader.
  ProtobufReader(std::span<const std::byte> bytes, const std::string& operation, std::string_view what)
      : bytes_(bytes), operation_(operation), what_(what) {}

  /// Moves to the next field; false where there is none. Throws Error(invalid_file) for bytes that are no field: a
  /// length beyond the end, a varint of more than ten bytes, field 0, or groups, which nobody writes any more.
  bool next();
  int field() const { return field_; }

  // Of the current field. Throw Error(invalid_file) where it is of another wire type.
  int64_t varint() const;
  float f32() const;
  std::span<const std::byte> bytes() const;
  std::string_view text() const;

  /// Of a repeated field: the one number, or all of them in a row.
  std::vector<int64_t> varints() const;

  /// Throws Error(unsupported): the current field is one that nothing here knows.
  [[noreturn]] void refuse_field() const;

 private:
  uint64_t raw_varint();
  void require(int wire_type) const;
  [[noreturn]] void fail(std::string given) const;

  std::span<const std::byte> bytes_;  // that are left
  const std::string& operation_;
  std::string_view what_;
  int field_ = 0, wire_type_ = 0;
  uint64_t number_ = 0;               // of the current field
  std::span<const std::byte> value_;  // likewise
};

}  // namespace mxq
