#include "format/python_json.h"

#include <algorithm>
#include <array>
#include <vector>

#include "format/json_place.h"

namespace mxq {

namespace {

// Control characters at both ends: as printed, "\u0001NaN\u0001".
constexpr std::array<std::string_view, 3> kLiterals{"-Infinity", "Infinity", "NaN"};

std::string marked(std::string_view literal) {
  return "\"\\u0001" + std::string(literal) + "\\u0001\"";
}

/// `text` with the literals outside strings as marked strings.
struct Marked {
  std::string text;
  std::vector<size_t> ends;  // of the marked strings, in `text`

  explicit Marked(std::string_view original);

  /// Of the text as it was.
  size_t original_place(size_t place) const {
    const auto longer =
        static_cast<size_t>(std::count_if(ends.begin(), ends.end(), [&](size_t e) { return e <= place; }));
    return place - longer * marked("").size();
  }
};

Marked::Marked(std::string_view original) {
  text.reserve(original.size());
  bool in_string = false;
  for (size_t i = 0; i < original.size(); ++i) {
    if (in_string) {
      text += original[i];
      if (original[i] == '\\' && i + 1 < original.size()) {
        text += original[++i];
      } else if (original[i] == '"') {
        in_string = false;
      }
      continue;
    }
    bool literal = false;
    for (const std::string_view known : kLiterals) {
      if (!original.substr(i).starts_with(known)) continue;
      text += marked(known);
      ends.push_back(text.size());
      i += known.size() - 1;
      literal = true;
      break;
    }
    if (literal) continue;
    in_string = original[i] == '"';
    text += original[i];
  }
}

template <typename Json>
Json parse(std::string_view text, const std::string& operation) {
  const Marked marked(text);
  try {
    return Json::parse(marked.text);
  } catch (const typename Json::parse_error& error) {
    throw no_json(operation, text, marked.original_place(error.byte));
  } catch (const typename Json::out_of_range& error) {  // says the number behind its own name in brackets
    const std::string_view reason = error.what();
    throw Error(ErrorCode::invalid_file, operation,
                "not valid JSON: " + std::string(reason.substr(reason.find("] ") + 2)), "numbers that a double holds");
  }
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

nlohmann::json parse_python_json(std::string_view text, const std::string& operation) {
  return parse<nlohmann::json>(text, operation);
}

nlohmann::ordered_json parse_python_json_in_order(std::string_view text, const std::string& operation) {
  return parse<nlohmann::ordered_json>(text, operation);
}

std::string print_python_json(const nlohmann::json& json, int indent, bool ascii) {
  return print(json, indent, ascii);
}

std::string print_python_json(const nlohmann::ordered_json& json, int indent, bool ascii) {
  return print(json, indent, ascii);
}

}  // namespace mxq
