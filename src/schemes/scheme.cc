#include "mxq/scheme.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bitpack.h"
#include "base/named.h"
#include "mxq/error.h"
#include "mxq/quantized_matrix.h"

namespace mxq {

namespace {

constexpr Named<Fit> kFits[] = {{"rtn", Fit::rtn}, {"hqq", Fit::hqq}, {"mse", Fit::mse}, {"gptq", Fit::gptq}};
constexpr Named<Metadata> kMetadata[] = {{"q8", Metadata::q8}, {"f16", Metadata::f16}, {"f32", Metadata::f32}};
constexpr Named<Normalize> kNormalize[] = {{"none", Normalize::none},
                                           {"columns", Normalize::columns},
                                           {"rotation", Normalize::rotation},
                                           {"sinq", Normalize::sinq}};

}  // namespace

std::string Scheme::name() const {
  return fmt::format("b{}g{}", bits, group);
}

namespace {

std::vector<Scheme> product(std::initializer_list<int> bits, std::initializer_list<int> groups) {
  std::vector<Scheme> all;
  for (const int b : bits) {
    for (const int g : groups) all.push_back({b, g});
  }
  return all;
}

}  // namespace

const std::vector<Scheme>& paper_schemes() {
  static const std::vector<Scheme> schemes = product({2, 3, 4, 8}, {32, 64, 128});
  return schemes;
}

const std::vector<Scheme>& wide_schemes() {
  static const std::vector<Scheme> schemes = product({2, 3, 4, 5, 6, 8}, {32, 64, 128});
  return schemes;
}

const std::vector<Scheme>& all_schemes() {
  static const std::vector<Scheme> schemes = product({2, 3, 4, 5, 6, 8}, {16, 32, 64, 128, 256});
  return schemes;
}

Scheme parse_scheme(std::string_view name) {
  std::string names;
  for (const Scheme& scheme : all_schemes()) {
    if (scheme.name() == name) return scheme;
    names += (names.empty() ? "" : ", ") + scheme.name();
  }
  throw Error(ErrorCode::usage, "parse scheme", fmt::format("'{}'", name), "known: " + names);
}

std::string_view fit_name(Fit fit) {
  return name_of(kFits, fit);
}
Fit parse_fit(std::string_view name) {
  return parse_named(kFits, "fit", name);
}
std::string_view metadata_name(Metadata metadata) {
  return name_of(kMetadata, metadata);
}
Metadata parse_metadata(std::string_view name) {
  return parse_named(kMetadata, "metadata", name);
}
std::string_view normalize_name(Normalize normalize) {
  return name_of(kNormalize, normalize);
}
Normalize parse_normalize(std::string_view name) {
  return parse_named(kNormalize, "normalize", name);
}

int64_t group_count(const Scheme& scheme, int axis, int64_t rows, int64_t cols) {
  const int64_t group = scheme.group;
  if (axis == 1) return rows * (cols / group + (cols % group != 0));
  const int64_t size = rows * cols;
  return size / group + (size % group != 0);
}

namespace {

int64_t metadata_bytes(Metadata metadata) {
  switch (metadata) {
    case Metadata::q8:
      return 1;
    case Metadata::f16:
      return 2;
    case Metadata::f32:
      return 4;
  }
  throw Error(ErrorCode::unsupported, "size metadata", "unknown kind", "q8, f16 or f32");
}

}  // namespace

int64_t QuantizedLayout::code_row_bytes() const {
  return packed_bytes(cols, scheme.bits);
}
int64_t QuantizedLayout::code_bytes() const {
  constexpr int64_t kWord = 4;
  const int64_t bytes = axis == 1 ? rows * code_row_bytes() : packed_bytes(rows * cols, scheme.bits);
  return (bytes + kWord - 1) / kWord * kWord;
}
int64_t QuantizedLayout::scale_bytes() const {
  return groups() * metadata_bytes(metadata);
}
int64_t QuantizedLayout::step_bytes() const {
  return metadata == Metadata::q8 ? 2 * ((groups() + kGroupsPerStep - 1) / kGroupsPerStep) : 0;
}
int64_t QuantizedLayout::column_scale_bytes() const {
  return has_column_scales ? 2 * cols : 0;
}
int64_t QuantizedLayout::total_bytes() const {
  return code_bytes() + 2 * scale_bytes() + 2 * step_bytes() + column_scale_bytes();
}

QuantizedLayout quantized_layout(const Scheme& scheme, const QuantizeOptions& options, int64_t rows, int64_t cols) {
  return {rows,
          cols,
          scheme,
          options.axis,
          options.metadata,
          options.normalize != Normalize::none,
          options.normalize == Normalize::rotation};
}

int64_t storage_bytes(const Scheme& scheme, const QuantizeOptions& options, int64_t rows, int64_t cols) {
  return quantized_layout(scheme, options, rows, cols).total_bytes();
}

double nominal_bits(const Scheme& scheme) {
  const double group = scheme.group;
  return scheme.bits + 16 / group + 32 / (group * static_cast<double>(kGroupsPerStep));
}

}  // namespace mxq
