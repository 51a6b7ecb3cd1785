#include "allocate/constraints.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <unordered_map>
#include <utility>

#include "allocate/objective.h"
#include "base/pattern.h"
#include "base/saturate.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr const char* kOperation = "allocate";

int scheme_bits(const SchemeCost& scheme, int64_t params) {
  if (scheme.bits > 0 || params == 0) return scheme.bits;
  return saturate<int>(static_cast<double>(scheme.bytes) * 8 / static_cast<double>(params));
}

std::string scheme_list(const MatrixErrors& matrix) {
  std::string list;
  for (const SchemeCost& s : matrix.schemes) list += (list.empty() ? "" : ", ") + s.scheme;
  return list;
}

const SchemeCost* find_scheme(const MatrixErrors& matrix, const std::string& scheme) {
  for (const SchemeCost& s : matrix.schemes) {
    if (s.scheme == scheme) return &s;
  }
  return nullptr;
}

std::string operation_of(const std::pair<std::string, std::string>& pin) {
  return fmt::format("pin '{}={}'", pin.first, pin.second);
}

/// The scheme that each matrix is pinned to, if any.
std::vector<std::optional<std::string>> apply_pins(const ErrorTable& table, const AllocateOptions& options) {
  const std::vector<MatrixErrors>& matrices = table.matrices;
  std::vector<std::optional<std::string>> pinned(matrices.size());
  for (const auto& pin : options.pins) {
    const std::string operation = operation_of(pin);
    const Pattern regex(operation, pin.first);
    bool effective = false;
    std::optional<size_t> first;
    for (size_t i = 0; i < matrices.size(); ++i) {
      if (!regex.found_in(matrices[i].name)) continue;
      if (!first) first = i;
      if (pinned[i]) continue;
      effective = true;
      if (!find_scheme(matrices[i], pin.second)) {
        throw Error(ErrorCode::usage, operation,
                    fmt::format("matrix '{}' has no scheme '{}'", matrices[i].name, pin.second),
                    scheme_list(matrices[i]));
      }
      pinned[i] = pin.second;
    }
    if (!first) throw Error(ErrorCode::usage, operation, "no matrix has a name that matches");
    if (!effective) {
      throw Error(
          ErrorCode::usage, operation,
          fmt::format("earlier pins have all that it finds, e.g. '{}' at {}", matrices[*first].name, *pinned[*first]),
          "the narrower pin first: the first that finds a matrix wins");
    }
  }
  return pinned;
}

/// What names of matrices that the tie ties have in common; nullopt for a matrix that it does not.
std::optional<std::string> tied_by(const Tie& tie, std::string_view name) {
  if (!tie.numbered.empty()) {
    const std::string behind = fmt::format(".{}.", tie.numbered);
    const size_t at = name.find(behind);
    if (at == name.npos) return std::nullopt;
    const size_t number = at + behind.size(), end = name.find_first_not_of("0123456789", number);
    if (end == name.npos || end == number) return std::nullopt;
    return fmt::format("{}{}", name.substr(0, number), name.substr(end));
  }
  const size_t dot = name.rfind('.');
  const std::string_view module = dot == name.npos ? name : name.substr(dot + 1);
  if (std::find(tie.modules.begin(), tie.modules.end(), module) == tie.modules.end()) return std::nullopt;
  return std::string(dot == name.npos ? std::string_view{} : name.substr(0, dot));
}

/// Places in the table that take one scheme together, in order of the first.
std::vector<std::vector<size_t>> apply_ties(const ErrorTable& table, const AllocateOptions& options) {
  // Every place points towards the first one of its group.
  std::vector<size_t> towards(table.matrices.size());
  std::iota(towards.begin(), towards.end(), size_t{0});
  const auto first_of = [&](size_t place) {
    while (towards[place] != place) place = towards[place] = towards[towards[place]];
    return place;
  };
  for (const Tie& tie : options.ties) {
    std::unordered_map<std::string, size_t> seen;
    for (size_t i = 0; i < table.matrices.size(); ++i) {
      const auto common = tied_by(tie, table.matrices[i].name);
      if (!common) continue;
      const size_t other = first_of(seen.try_emplace(*common, i).first->second), own = first_of(i);
      towards[std::max(own, other)] = std::min(own, other);
    }
  }
  std::vector<std::vector<size_t>> groups;
  std::unordered_map<size_t, size_t> places;
  for (size_t i = 0; i < table.matrices.size(); ++i) {
    const auto [at, fresh] = places.try_emplace(first_of(i), groups.size());
    if (fresh) groups.emplace_back();
    groups[at->second].push_back(i);
  }
  return groups;
}

std::string member_list(const ErrorTable& table, const MatrixGroup& group) {
  constexpr size_t kNamed = 4;
  std::string list;
  for (size_t i = 0; i < std::min(kNamed, group.members.size()); ++i) {
    list += fmt::format("{}'{}'", list.empty() ? "" : ", ", table.matrices[group.members[i]].name);
  }
  if (group.members.size() > kNamed) list += fmt::format(" and {} more", group.members.size() - kNamed);
  return list;
}

}  // namespace

int64_t add_bytes(int64_t a, int64_t b) {
  int64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) {
    throw Error(ErrorCode::unsupported, kOperation, "the schemes' bytes add up to over 2^63");
  }
  return sum;
}

void check_pins(const AllocateOptions& options) {
  for (const auto& pin : options.pins) Pattern(operation_of(pin), pin.first);
}

std::vector<MatrixGroup> apply_constraints(const ErrorTable& table, const AllocateOptions& options) {
  if (table.matrices.empty()) throw Error(ErrorCode::usage, kOperation, "the error table has no matrices");
  for (const MatrixErrors& m : table.matrices) {
    if (m.schemes.empty()) {
      throw Error(ErrorCode::usage, kOperation, fmt::format("matrix '{}' has no schemes in the error table", m.name));
    }
  }
  const auto costs = objective_costs(table, options.objective);
  const auto pinned = apply_pins(table, options);
  std::vector<MatrixGroup> groups;
  for (auto& members : apply_ties(table, options)) {
    MatrixGroup& group = groups.emplace_back();
    group.members = std::move(members);
    const std::string* pin = nullptr;
    for (const size_t i : group.members) {
      if (!pinned[i]) continue;
      if (pin && *pin != *pinned[i]) {
        throw Error(
            ErrorCode::usage, kOperation,
            fmt::format("the tied matrices {} are pinned to {} and {}", member_list(table, group), *pin, *pinned[i]),
            "one scheme for all of them");
      }
      pin = &*pinned[i];
    }
    group.pinned = pin != nullptr;
    bool common = false;
    const MatrixErrors& first = table.matrices[group.members.front()];
    for (const SchemeCost& candidate : first.schemes) {
      if (pin && candidate.scheme != *pin) continue;
      GroupOption option{candidate.scheme, {}, 0, 0};
      bool enough_bits = true;
      for (const size_t i : group.members) {
        const MatrixErrors& m = table.matrices[i];
        const SchemeCost* s = find_scheme(m, candidate.scheme);
        if (!s) break;
        enough_bits &= scheme_bits(*s, m.params) >= options.min_bits;
        option.places.push_back(static_cast<int32_t>(s - m.schemes.data()));
        option.cost += costs[i][option.places.back()];
        option.bytes = add_bytes(option.bytes, s->bytes);
      }
      if (option.places.size() < group.members.size()) continue;
      common = true;
      if (pin || enough_bits) group.options.push_back(std::move(option));
    }
    if (!common) {
      throw Error(ErrorCode::usage, kOperation,
                  fmt::format("the tied matrices {} have no scheme in common{}", member_list(table, group),
                              pin ? " with the pin" : ""));
    }
    if (group.options.empty()) {
      throw Error(ErrorCode::usage, kOperation,
                  fmt::format("min_bits {} leaves no scheme for {}", options.min_bits, member_list(table, group)),
                  scheme_list(first));
    }
  }
  return groups;
}

std::vector<std::pair<std::string, std::string>> pins_below_min_bits(const ErrorTable& table,
                                                                     const AllocateOptions& options) {
  std::vector<std::pair<std::string, std::string>> below;
  for (const MatrixGroup& group : apply_constraints(table, options)) {
    if (!group.pinned) continue;
    for (size_t i = 0; i < group.members.size(); ++i) {
      const MatrixErrors& matrix = table.matrices[group.members[i]];
      const SchemeCost& scheme = matrix.schemes[group.options.front().places[i]];
      if (scheme_bits(scheme, matrix.params) < options.min_bits) below.emplace_back(matrix.name, scheme.scheme);
    }
  }
  return below;
}

mckp::Problem make_problem(const std::vector<MatrixGroup>& groups, int64_t capacity) {
  mckp::Problem problem;
  problem.capacity = capacity;
  for (const MatrixGroup& group : groups) {
    auto& items = problem.classes.emplace_back();
    for (const GroupOption& option : group.options) items.push_back({option.cost, option.bytes});
  }
  return problem;
}

}  // namespace mxq
