#include "mxq/scheme.h"

#include "base/named.h"

namespace mxq {

namespace {

constexpr Named<Fit> kFits[] = {
    {"rtn", Fit::rtn}, {"hqq", Fit::hqq}, {"mse", Fit::mse}, {"gptq", Fit::gptq}, {"awq", Fit::awq}};
constexpr Named<Metadata> kMetadata[] = {{"q8", Metadata::q8},
                                         {"f16", Metadata::f16},
                                         {"f32", Metadata::f32},
                                         {"f16-bias", Metadata::f16_bias},
                                         {"bf16-bias", Metadata::bf16_bias}};
constexpr Named<Normalize> kNormalize[] = {{"none", Normalize::none},
                                           {"columns", Normalize::columns},
                                           {"rotation", Normalize::rotation},
                                           {"sinq", Normalize::sinq}};

constexpr Named<ColumnOrder> kOrders[] = {{"left", ColumnOrder::left}, {"diagonal", ColumnOrder::diagonal}};
constexpr Named<TokenWeighting> kWeightings[] = {{"even", TokenWeighting::even},
                                                 {"gradient", TokenWeighting::gradient}};
constexpr Named<ZeroPoint> kZeroPoints[] = {
    {"real", ZeroPoint::real}, {"integer", ZeroPoint::integer}, {"symmetric", ZeroPoint::symmetric}};

std::vector<Scheme> product(std::initializer_list<int> bits, std::initializer_list<int> groups) {
  std::vector<Scheme> all;
  for (const int b : bits) {
    for (const int g : groups) all.push_back({.bits = b, .group = g});
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

double nominal_bits(const Scheme& scheme) {
  const double group = scheme.group;
  return scheme.bits + 16 / group + 32 / (group * static_cast<double>(kGroupsPerStep));
}

std::string_view column_order_name(ColumnOrder order) {
  return name_of(kOrders, order);
}
ColumnOrder parse_column_order(std::string_view name) {
  return parse_named(kOrders, "column order", name);
}
std::string_view token_weighting_name(TokenWeighting weighting) {
  return name_of(kWeightings, weighting);
}
TokenWeighting parse_token_weighting(std::string_view name) {
  return parse_named(kWeightings, "token weights", name);
}
std::string_view zero_point_name(ZeroPoint zero_point) {
  return name_of(kZeroPoints, zero_point);
}
ZeroPoint parse_zero_point(std::string_view name) {
  return parse_named(kZeroPoints, "zero point", name);
}

QuantizeOptions tabled(const QuantizeOptions& options) {
  QuantizeOptions result = options;
  if (result.fit == Fit::gptq) result.fit = Fit::mse;
  if (result.fit == Fit::awq) result.fit = Fit::rtn;
  return result;
}

}  // namespace mxq
