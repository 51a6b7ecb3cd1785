#include "format/python_json.h"

#include <array>

namespace mxq {

namespace {

// Control characters at both ends: as printed, "\u0001NaN\u0001".
constexpr std::array<std::string_view, 3> kLiterals{"-Infinity", "Infinity", "NaN"};

std::string marked(std::string_view literal) {
  return "\"\\u0001" + std::string(literal) + "\\u0001\"";
}

// `text` with the literals outside strings as marked strings.
std::string with_marks(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (in_string) {
      out += text[i];
      if (text[i] == '\\' && i + 1 < text.size()) {
        out += text[++i];
      } else if (text[i] == '"') {
        in_string = false;
      }
      continue;
    }
    bool literal = false;
    for (const std::string_view known : kLiterals) {
      if (!text.substr(i).starts_with(known)) continue;
      out += marked(known);
      i += known.size() - 1;
      literal = true;
      break;
    }
    if (literal) continue;
    in_string = text[i] == '"';
    out += text[i];
  }
  return out;
}

std::string without_marks(std::string text) {
  for (const std::string_view literal : kLiterals) {
    const std::string mark = marked(literal);
    for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + literal.size())) {
      text.replace(at, mark.size(), literal);
    }
  }
  return text;
}

template <typename Json>
std::string print(const Json& json, int indent, bool ascii) {
  return without_marks(json.dump(indent, ' ', ascii, Json::error_handler_t::replace));
}

}  // namespace

nlohmann::json parse_python_json(std::string_view text) {
  return nlohmann::json::parse(with_marks(text));
}

nlohmann::ordered_json parse_python_json_in_order(std::string_view text) {
  return nlohmann::ordered_json::parse(with_marks(text));
}

std::string print_python_json(const nlohmann::json& json, int indent, bool ascii) {
  return print(json, indent, ascii);
}

std::string print_python_json(const nlohmann::ordered_json& json, int indent, bool ascii) {
  return print(json, indent, ascii);
}

}  // namespace mxq
