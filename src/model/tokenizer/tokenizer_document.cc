#include "model/tokenizer/tokenizer_document.h"

#include <fmt/format.h>

#include "model/tokenizer/serde_number.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

class Reader {
 public:
  explicit Reader(const std::string& operation) : operation_(operation) {}

  TokenizerDocument read(std::string_view text) {
    walk_json(text, operation_, [this](JsonPath path, const JsonEvent& event) { handle(path, event); });
    document_.rest = rest_.take();
    if (!document_.rest.is_object()) invalid("no JSON object");
    if (open_pair_) invalid("a merge is not a pair of tokens");
    return std::move(document_);
  }

 private:
  [[noreturn]] void invalid(std::string given) const {
    throw Error(ErrorCode::invalid_file, operation_, std::move(given));
  }

  void handle(JsonPath path, const JsonEvent& event) {
    const bool in_model = path.size() >= 3 && path[0] == "model";
    if (path.size() == 2 && path[0] == "model" && path[1] == "vocab" && event.kind == JsonEvent::array_begin) {
      document_.scores_listed = true;
    }
    if (in_model && path[1] == "vocab" && document_.scores_listed) {
      score(path, event);
    } else if (in_model && path[1] == "vocab") {
      if (event.kind != JsonEvent::natural || path.size() != 3) {
        // Models of other types have other vocabularies; the type may come later in the file.
        if (document_.not_ids.empty()) {
          document_.not_ids = fmt::format("the id of token {} is not a number from 0 on", in_quotes(path[2]));
        }
        return;
      }
      document_.vocabulary.emplace_back(path[2], event.natural_value);
    } else if (in_model && path[1] == "merges") {
      merge(path, event);
    } else {
      rest_.add(path, event);
    }
  }

  // ["token", -1.5]
  void score(JsonPath path, const JsonEvent& event) {
    const auto wrong = [&](const char* what) {
      if (document_.not_scores.empty()) {
        document_.not_scores = fmt::format("token {} of the vocabulary {}", document_.scores.size(), what);
      }
    };
    if (path.size() == 3 && event.kind == JsonEvent::array_begin) {
      score_parts_ = 0;
    } else if (path.size() == 4 && score_parts_ == 0 && event.kind == JsonEvent::string) {
      scored_ = event.text;
      score_parts_ = 1;
    } else if (path.size() == 4 && score_parts_ == 1 &&
               (event.kind == JsonEvent::natural || event.kind == JsonEvent::number)) {
      const auto value = event.kind == JsonEvent::natural ? std::optional(static_cast<double>(event.natural_value))
                                                          : serde_number(event.text);
      if (!value) wrong("has a score beyond all doubles");
      scored_value_ = value.value_or(0);
      score_parts_ = 2;
    } else if (path.size() == 3 && score_parts_ == 2 && event.kind == JsonEvent::array_end) {
      document_.scores.emplace_back(std::move(scored_), scored_value_);
      score_parts_ = 0;
    } else {
      wrong("is not a token with its score");
    }
  }

  void merge(JsonPath path, const JsonEvent& event) {
    const size_t number = document_.merges.size();
    if (path.size() == 3 && event.kind == JsonEvent::string) {
      if (event.text.starts_with("#version")) return;  // the first line of a merges.txt
      const size_t blank = event.text.find(' ', 1);
      if (blank == std::string_view::npos) {
        invalid(fmt::format("merge {} is one word, {}", number, in_quotes(event.text)));
      }
      document_.merges.emplace_back(event.text.substr(0, blank), event.text.substr(blank + 1));
    } else if (path.size() == 3 && event.kind == JsonEvent::array_begin) {
      pair_.clear();
      open_pair_ = true;
    } else if (path.size() == 4 && open_pair_ && event.kind == JsonEvent::string && pair_.size() < 2) {
      pair_.emplace_back(event.text);
    } else if (path.size() == 3 && open_pair_ && event.kind == JsonEvent::array_end && pair_.size() == 2) {
      document_.merges.emplace_back(std::move(pair_[0]), std::move(pair_[1]));
      open_pair_ = false;
    } else {
      invalid(fmt::format("merge {} is not a pair of tokens", number));
    }
  }

  const std::string& operation_;
  TokenizerDocument document_;
  JsonTreeBuilder rest_;
  std::vector<std::string> pair_;
  bool open_pair_ = false;
  std::string scored_;
  double scored_value_ = 0;
  int score_parts_ = 0;  // of the pair so far
};

}  // namespace

TokenizerDocument read_tokenizer_document(std::string_view text, const std::string& operation) {
  return Reader(operation).read(text);
}

}  // namespace mxq
