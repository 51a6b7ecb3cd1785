#include "model/tokenizer/unigram.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <utility>

#include "base/utf8.h"

namespace mxq {

namespace {
constexpr int32_t kNone = -1, kUnknownCharacter = -2;
constexpr double kUnknownPenalty = 10;

size_t last_character_length(std::string_view text) {
  size_t length = 1;
  while ((static_cast<unsigned char>(text[text.size() - length]) & 0xc0) == 0x80) ++length;
  return length;
}

}  // namespace

Unigram::Unigram(const std::vector<std::string>& tokens, std::vector<double> scores, std::optional<uint32_t> unknown,
                 std::optional<std::array<int32_t, 256>> bytes)
    : scores_(std::move(scores)), unknown_(unknown), bytes_(bytes) {
  lengths_.reserve(scores_.size());
  for (size_t id = 0; id < scores_.size(); ++id) lengths_.push_back(static_cast<uint32_t>(tokens[id].size()));
  for (const uint32_t length : lengths_) longest_ = std::max<size_t>(longest_, length);
  const auto least = std::min_element(scores_.begin(), scores_.end());
  unknown_score_ = (least == scores_.end() ? std::numeric_limits<double>::infinity() : *least) - kUnknownPenalty;

  // Level by level: each node's tokens lie side by side in the sorted order.
  std::vector<uint32_t> order(scores_.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return tokens[a] < tokens[b]; });
  struct Span {
    size_t begin, end;
  };
  std::vector<Span> level{{0, order.size()}}, next;
  nodes_.push_back({});
  for (size_t depth = 0, first = 0; !level.empty(); ++depth) {
    next.clear();
    for (size_t i = 0; i < level.size(); ++i) {
      auto [at, end] = level[i];
      for (; at < end && tokens[order[at]].size() == depth; ++at) {
        if (depth > 0) nodes_[first + i].id = static_cast<int32_t>(order[at]);  // the empty token is never found
      }
      nodes_[first + i].first_child = static_cast<uint32_t>(first + level.size() + next.size());
      while (at < end) {
        const char byte = tokens[order[at]][depth];
        const size_t begin = at;
        while (at < end && tokens[order[at]][depth] == byte) ++at;
        ++nodes_[first + i].children;
        nodes_.push_back({.byte = static_cast<uint8_t>(byte)});
        next.push_back({begin, at});
      }
    }
    first += level.size();
    std::swap(level, next);
  }
}

const Unigram::Node* Unigram::child(const Node& node, char byte) const {
  const auto begin = nodes_.begin() + node.first_child, end = begin + node.children;
  const auto wanted = static_cast<uint8_t>(byte);
  const auto found = std::lower_bound(begin, end, wanted, [](const Node& n, uint8_t b) { return n.byte < b; });
  return found != end && found->byte == wanted ? &*found : nullptr;
}

int32_t Unigram::find(std::string_view token) const {
  const Node* node = nodes_.data();
  for (const char byte : token) {
    node = child(*node, byte);
    if (!node) return kNone;
  }
  return node->id;
}

bool Unigram::put_unknown(std::string_view text, std::vector<int32_t>& ids) const {
  // Scores above zero may leave a token out of the path that its characters take.
  if (const int32_t id = find(text); id != kNone) {
    ids.push_back(id);
    return true;
  }
  if (bytes_) {
    const auto byte_id = [&](char c) { return (*bytes_)[static_cast<unsigned char>(c)]; };
    if (std::all_of(text.begin(), text.end(), [&](char c) { return byte_id(c) != kNone; })) {
      for (const char c : text) ids.push_back(byte_id(c));
      return true;
    }
  }
  if (unknown_) ids.push_back(static_cast<int32_t>(*unknown_));
  return unknown_.has_value();
}

bool Unigram::encode(std::string_view word, std::vector<int32_t>& ids, Scratch& scratch) const {
  // The best sum up to each place, for the places within reach of a token; what the best path to each place ends with.
  const size_t mask = std::bit_ceil(std::max<size_t>(longest_, 4) + 1) - 1;
  auto& best = scratch.best;
  auto& last = scratch.last;
  auto& path = scratch.path;
  best.resize(mask + 1);
  best[0] = 0;
  last.assign(word.size() + 1, kNone);
  for (size_t at = 0; at < word.size();) {
    const size_t character = character_length(word.substr(at));
    const double here = best[at & mask];
    bool is_token = false;
    const auto offer = [&](size_t end, double sum, int32_t id) {
      if (last[end] != kNone && !(sum > best[end & mask])) return false;
      best[end & mask] = sum;
      last[end] = id;
      return true;
    };
    const Node* node = nodes_.data();
    for (size_t end = at; end < word.size();) {
      node = child(*node, word[end++]);
      if (!node) break;
      if (node->id == kNone) continue;
      offer(end, scores_[static_cast<size_t>(node->id)] + here, node->id);
      is_token = is_token || end - at == character;
    }
    if (!is_token && offer(at + character, unknown_score_ + here, kUnknownCharacter) && !unknown_) return false;
    at += character;
  }

  path.clear();
  for (size_t end = word.size(); end > 0;) {
    path.push_back(last[end]);
    end -= last[end] == kUnknownCharacter ? last_character_length(word.substr(0, end))
                                          : lengths_[static_cast<size_t>(last[end])];
  }
  size_t begin = 0, done = 0;  // what is unknown lies between them
  for (auto id = path.rbegin(); id != path.rend(); ++id) {
    const bool unknown = *id == kUnknownCharacter || (unknown_ && *id == static_cast<int32_t>(*unknown_));
    const size_t end =
        done + (*id == kUnknownCharacter ? character_length(word.substr(done)) : lengths_[static_cast<size_t>(*id)]);
    if (!unknown) {
      if (done > begin && !put_unknown(word.substr(begin, done - begin), ids)) return false;
      ids.push_back(*id);
      begin = end;
    }
    done = end;
  }
  return done == begin || put_unknown(word.substr(begin, done - begin), ids);
}

}  // namespace mxq
