#include "format/torch_zip.h"

#include <gtest/gtest.h>

#include "expect_error.h"
#include "torch_builder.h"

namespace mxq {
namespace {

std::span<const std::byte> view(const std::string& bytes) {
  return std::as_bytes(std::span(bytes));
}
std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

ZipBuilder usual() {
  ZipBuilder zip;
  zip.add("m/data.pkl", "pickle").add("m/byteorder", "little").add("m/data/0", "abcd").add("m/data/12", "");
  return zip;
}

void refused(const std::string& bytes, std::string_view message, ErrorCode code = ErrorCode::invalid_file) {
  expect_error(code, message, [&] { parse_torch_zip(view(bytes), "f.pth"); });
}

// `bytes` with the `width` bytes at `at` behind the `which`-th `mark` replaced.
std::string patched(std::string bytes, std::string_view mark, size_t at, uint64_t value, size_t width, int which = 0) {
  size_t found = bytes.find(mark);
  while (which-- > 0) found = bytes.find(mark, found + 1);
  return bytes.replace(found + at, width, le_bytes(value, width));
}

TEST(TorchZip, FindsWhatTorchSaveWrites) {
  for (const bool zip64 : {false, true}) {
    ZipBuilder zip = usual();
    zip.add({.name = "m/data/3", .bytes = "large", .large = true});
    const std::string bytes = zip.done(zip64);
    const TorchZip found = parse_torch_zip(view(bytes), "f.pth");
    EXPECT_EQ(text(found.pickle), "pickle");
    ASSERT_EQ(found.storages.size(), 3u);
    EXPECT_EQ(text(found.storages.at("0")), "abcd");
    EXPECT_EQ(text(found.storages.at("12")), "");
    EXPECT_EQ(text(found.storages.at("3")), "large");
  }
}

TEST(TorchZip, RefusesOtherArchives) {
  refused(ZipBuilder().add("a.txt", "x").done(), "a zip archive without NAME/data.pkl", ErrorCode::unsupported);
  refused(ZipBuilder().add("data.pkl", "x").done(), "without NAME/data.pkl", ErrorCode::unsupported);
  refused(usual().add("m/constants.pkl", "x").done(), "a TorchScript archive", ErrorCode::unsupported);
  refused(usual().add({.name = "m/code/__torch__.py", .bytes = "x", .method = 8}).done(), "a TorchScript archive",
          ErrorCode::unsupported);
  refused(ZipBuilder().add("m/data.pkl", "x").add("m/byteorder", "big").done(), "'m/byteorder' is 'big'",
          ErrorCode::unsupported);
  refused(usual().add({.name = "m/x", .bytes = "x", .method = 8}).done(), "'m/x' is compressed (method 8)",
          ErrorCode::unsupported);
  refused(usual().add({.name = "m/x", .bytes = "x", .flags = 1}).done(), "'m/x' is encrypted", ErrorCode::unsupported);
}

TEST(TorchZip, RefusesNamesThatContradict) {
  refused(usual().add("n/data.pkl", "x").done(), "both 'm/' and 'n/' hold data.pkl");
  refused(usual().add("n/data/1", "x").done(), "'n/data/1' lies outside 'm/'");
  refused(usual().add("m/data/0", "other").done(), "'m/data/0' is there twice");
  refused(usual().add("m/data/../../etc/passwd", "x").done(), "storage 'm/data/../../etc/passwd'; expected a number");
  refused(usual().add("m/data/", "").done(), "expected a number for a name");
  refused(usual().add(std::string(600, 'm'), "").done(), "a name of 600 bytes");
}

TEST(TorchZip, RefusesWhatIsCutAtAnyByte) {
  for (const bool zip64 : {false, true}) {
    const std::string bytes = usual().done(zip64);
    for (size_t size = 0; size < bytes.size(); ++size) refused(bytes.substr(0, size), "f.pth");
    refused(bytes + "x", "no zip directory at the file's end");
  }
}

TEST(TorchZip, RefusesSizesThatLie) {
  const std::string zip = usual().done();
  constexpr std::string_view end = "PK\5\6", central = "PK\1\2", local = "PK\3\4";
  refused(patched(zip, end, 10, 3, 2), "several disks");
  refused(patched(patched(zip, end, 8, 3, 2), end, 10, 3, 2), "the zip directory of 3 entries ends at byte");
  refused(patched(patched(zip, end, 8, 9000, 2), end, 10, 9000, 2), "9000 entries in a zip directory");
  refused(patched(zip, end, 16, 0, 4), "expected one that ends at byte");
  refused(patched(zip, end, 16, 0xfffffff0, 4), "expected one that ends at byte");
  refused(patched(zip, central, 24, 1 << 30, 4), "bytes are stored in");
  refused(patched(patched(zip, central, 20, 1 << 30, 4), central, 24, 1 << 30, 4), "expected an end before byte");
  refused(patched(zip, central, 42, 5, 4), "no header at byte 5");
  refused(patched(zip, central, 42, 0xfffffff0, 4), "no header at byte 4294967280");
  refused(patched(zip, central, 42, 0, 4, 1), "contradicts the directory");
  refused(patched(zip, central, 28, 0xffff, 2), "ends beyond the directory");
  refused(patched(zip, central, 24, 0xffffffff, 4), "sizes of zip64 without their field");
  refused(patched(zip, local, 18, 3, 4), "3 bytes by its header");
  refused(patched(zip, local, 28, 0xffff, 2), "contradicts the directory");
  refused(patched(zip, local, 8, 8, 2), "contradicts the directory");
}

TEST(TorchZip, RefusesEntriesThatOverlap) {
  std::string zip = usual().done();
  // The first entry reaches into the second's header.
  for (const size_t at : {size_t{20}, size_t{24}}) zip = patched(zip, "PK\1\2", at, 7, 4);
  zip = patched(zip, "PK\3\4", 18, 7, 4);
  refused(zip, "entries 'm/data.pkl' and 'm/byteorder' overlap");
}

TEST(TorchZip, RefusesZip64ThatLies) {
  const std::string zip = usual().done(true);
  constexpr std::string_view record = "PK\6\6", locator = "PK\6\7";
  refused(patched(zip, locator, 8, 0, 8), "the zip64 end record should be at byte 0");
  refused(patched(zip, locator, 8, ~uint64_t{0}, 8), "should be at byte 18446744073709551615");
  refused(patched(zip, record, 32, 3, 8), "contradict each other");
  refused(patched(patched(zip, record, 32, ~uint64_t{0}, 8), record, 24, ~uint64_t{0}, 8),
          "entries in a zip directory");
  refused(patched(zip, record, 40, ~uint64_t{0}, 8), "expected one that ends at byte");
  refused(patched(zip, record, 48, ~uint64_t{0}, 8), "expected one that ends at byte");
  ZipBuilder large = usual();
  large.add({.name = "m/data/3", .bytes = "large", .large = true});
  const std::string field = le_bytes(1, 2) + le_bytes(16, 2);
  refused(patched(large.done(), field, 4, ~uint64_t{0}, 8), "bytes are stored in");
  refused(patched(patched(large.done(), field, 4, ~uint64_t{0}, 8), field, 12, ~uint64_t{0}, 8),
          "expected an end before");
  refused(patched(large.done(), field, 2, 8, 2), "the zip64 field is too short");
}

}  // namespace
}  // namespace mxq
