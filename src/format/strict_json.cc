#include "format/strict_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "format/json_place.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr size_t kMaxDepth = 16;

/// nlohmann's SAX interface: each function returns true to go on.
class Walker {
 public:
  using Json = nlohmann::json;

  Walker(std::string_view text, const std::string& operation,
         const std::function<void(JsonPath, const JsonEvent&)>& handle)
      : text_(text), operation_(operation), handle_(handle) {}

  bool null() { return value({JsonEvent::null}); }
  bool boolean(bool b) { return value({JsonEvent::boolean, b ? 1u : 0u}); }
  // Called for numbers with a minus sign only.
  bool number_integer(Json::number_integer_t n) { return value({JsonEvent::number, 0, fmt::format("{}", n)}); }
  bool number_unsigned(Json::number_unsigned_t n) { return value({JsonEvent::natural, n}); }
  bool number_float(Json::number_float_t, const std::string& text) { return value({JsonEvent::number, 0, text}); }
  bool string(std::string& text) { return value({JsonEvent::string, 0, text}); }
  bool binary(Json::binary_t&) { return false; }

  bool start_object(size_t) { return open({JsonEvent::object_begin}); }
  bool start_array(size_t) { return open({JsonEvent::array_begin}); }
  bool end_object() { return close({JsonEvent::object_end}); }
  bool end_array() { return close({JsonEvent::array_end}); }

  bool key(std::string& name) {
    if (!keys_.back().insert(name).second) {
      throw Error(ErrorCode::invalid_file, operation_, "key " + in_quotes(name) + " is there twice", "each key once");
    }
    path_.back() = name;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) {
    throw no_json(operation_, text_, position);
  }

 private:
  bool value(const JsonEvent& event) {
    handle_(path_, event);
    return true;
  }
  bool open(const JsonEvent& event) {
    handle_(path_, event);
    if (path_.size() == kMaxDepth) {
      throw Error(ErrorCode::invalid_file, operation_, "JSON is nested too deeply",
                  fmt::format("at most {} levels", kMaxDepth));
    }
    path_.emplace_back();
    keys_.emplace_back();
    return true;
  }
  bool close(const JsonEvent& event) {
    path_.pop_back();
    keys_.pop_back();
    handle_(path_, event);
    return true;
  }

  std::string_view text_;
  const std::string& operation_;
  const std::function<void(JsonPath, const JsonEvent&)>& handle_;
  std::vector<std::string> path_;
  std::vector<std::unordered_set<std::string>> keys_;  // one set a level, empty for arrays
};

}  // namespace

void walk_json(std::string_view text, const std::string& operation,
               const std::function<void(JsonPath, const JsonEvent&)>& handle) {
  // The parser takes a NUL for the end of its input and would pass over what follows; JSON has no place for one.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    throw Error(ErrorCode::invalid_file, operation, "not valid JSON (a NUL) at " + json_place(text, nul));
  }
  // It would also pass over a byte order mark, which RFC 8259 lets no writer write.
  if (text.starts_with("\xef\xbb\xbf")) {
    throw Error(ErrorCode::invalid_file, operation, "not valid JSON (a byte order mark) at byte 0");
  }
  Walker walker(text, operation, handle);
  nlohmann::json::sax_parse(text.begin(), text.end(), &walker);
}

}  // namespace mxq
