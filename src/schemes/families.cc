// The registry: a line for each family.
#include <fmt/format.h>

#include <algorithm>

#include "mxq/error.h"
#include "mxq/text.h"
#include "schemes/affine/affine.h"
#include "schemes/blockwise/blockwise.h"
#include "schemes/codebook/codebook.h"
#include "schemes/family.h"
#include "schemes/ggml/ggml.h"

namespace mxq {

const std::vector<const SchemeFamily*>& all_families() {
  static const std::vector<const SchemeFamily*> families = [] {
    std::vector<const SchemeFamily*> all{
        &affine_family(), &nf_family(), &fp_family(), &gaussian_family(), &kmeans_family(),
    };
    all.insert(all.end(), ggml_families().begin(), ggml_families().end());
    return all;
  }();
  return families;
}

const SchemeFamily& family_of(std::string_view name) {
  for (const SchemeFamily* family : all_families()) {
    if (family->name() == name) return *family;
  }
  throw Error(ErrorCode::usage, "find scheme family", fmt::format("'{}'", name),
              fmt::format("{}", fmt::join(scheme_families(), ", ")));
}

const std::vector<std::string_view>& scheme_families() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> all;
    for (const SchemeFamily* family : all_families()) all.push_back(family->name());
    return all;
  }();
  return names;
}

const std::vector<Scheme>& family_schemes(std::string_view family) {
  return family_of(family).usual_schemes();
}

bool fit_applies(const Scheme& scheme, Fit fit) {
  return family_of(scheme.family).takes_fit(fit);
}

std::string Scheme::name() const {
  return family_of(family).scheme_name(*this);
}

std::vector<Scheme> parse_schemes(std::string_view list) {
  std::vector<Scheme> schemes;
  const auto add = [&schemes](const std::vector<Scheme>& more) {
    for (const Scheme& scheme : more) {
      if (std::find(schemes.begin(), schemes.end(), scheme) == schemes.end()) schemes.push_back(scheme);
    }
  };
  const auto& families = scheme_families();
  for (const auto& name : split(list, ',')) {
    if (name == "wide") {
      add(wide_schemes());
    } else if (name == "paper") {
      add(paper_schemes());
    } else if (name == "all") {
      add(all_schemes());
    } else if (std::find(families.begin(), families.end(), name) != families.end()) {
      add(family_schemes(name));
    } else {
      try {
        add({parse_scheme(name)});
      } catch (const Error& e) {
        throw Error(e.code(), "schemes", e.given(),
                    fmt::format("a comma list of wide, paper, all, {} and schemes: {}", fmt::join(families, ", "),
                                e.supported()));
      }
    }
  }
  return schemes;
}

Scheme parse_scheme(std::string_view name) {
  std::string names;
  for (const SchemeFamily* family : all_families()) {
    for (const Scheme& scheme : family->schemes()) {
      const std::string known = scheme.name();
      if (known == name) return scheme;
      names += (names.empty() ? "" : ", ") + known;
    }
  }
  throw Error(ErrorCode::usage, "parse scheme", fmt::format("'{}'", name), names);
}

}  // namespace mxq
