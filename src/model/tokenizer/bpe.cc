#include "model/tokenizer/bpe.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace mxq {

namespace {
constexpr int32_t kGone = -1;
constexpr uint32_t kEnd = UINT32_MAX;

// Which initial symbols the runs that a token can stand for begin with, or end with: none, one, or kMany.
constexpr uint32_t kNothing = UINT32_MAX, kMany = UINT32_MAX - 1;

std::vector<uint32_t> end_symbols(const std::vector<BpeMerge>& merges, const std::vector<bool>& initial,
                                  uint32_t BpeMerge::*half) {
  const size_t count = initial.size();
  std::vector<uint32_t> from(merges.size()), begin(count + 1, 0);  // merges by that half
  for (const auto& merge : merges) ++begin[merge.*half + 1];
  for (size_t id = 0; id < count; ++id) begin[id + 1] += begin[id];
  std::vector<uint32_t> next(begin.begin(), begin.end() - 1);
  for (uint32_t i = 0; i < merges.size(); ++i) from[next[merges[i].*half]++] = i;

  std::vector<uint32_t> symbol(count, kNothing), changed;
  for (uint32_t id = 0; id < count; ++id) {
    if (!initial[id]) continue;
    symbol[id] = id;
    changed.push_back(id);
  }
  // An id changes at most twice, so each merge is looked at twice.
  while (!changed.empty()) {
    const uint32_t id = changed.back();
    changed.pop_back();
    for (uint32_t i = begin[id]; i < begin[id + 1]; ++i) {
      uint32_t& whole = symbol[merges[from[i]].whole];
      if (whole == symbol[id] || whole == kMany) continue;
      whole = whole == kNothing ? symbol[id] : kMany;
      changed.push_back(merges[from[i]].whole);
    }
  }
  return symbol;
}

}  // namespace

MergeTable::MergeTable(std::vector<BpeMerge> merges, size_t vocab_size) : merges_(std::move(merges)) {
  const auto halves = [](const BpeMerge& m) { return std::tie(m.left, m.right); };
  std::sort(merges_.begin(), merges_.end(), [&](const BpeMerge& a, const BpeMerge& b) {
    return std::tie(a.left, a.right, a.rank) < std::tie(b.left, b.right, b.rank);
  });
  merges_.erase(std::unique(merges_.begin(), merges_.end(),
                            [&](const BpeMerge& a, const BpeMerge& b) { return halves(a) == halves(b); }),
                merges_.end());
  first_.assign(vocab_size + 1, 0);
  for (const auto& merge : merges_) ++first_[merge.left + 1];
  for (size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];
}

const BpeMerge* MergeTable::find(uint32_t left, uint32_t right) const {
  const auto begin = merges_.begin() + first_[left], end = merges_.begin() + first_[left + 1];
  const auto found = std::lower_bound(begin, end, right, [](const BpeMerge& m, uint32_t id) { return m.right < id; });
  return found != end && found->right == right ? &*found : nullptr;
}

// Every token of the loop stands for a run of neighbouring initial symbols, and a merge of L and R makes the last
// symbol of L's run and the first of R's lie side by side within one token. So where no merge has a left half whose run
// may end in a and a right half whose run may begin with b, no token ever holds both sides of a boundary between a and
// b, be the symbols around them what they may. What a merge does depends on its two neighbours only; the loop takes the
// best (rank, position) of all, so among those of one part it takes them in that part's own order. Hence each part ends
// as it would alone.
MergeCuts::MergeCuts(const std::vector<BpeMerge>& merges, const std::vector<bool>& initial) {
  const auto last = end_symbols(merges, initial, &BpeMerge::right);
  const auto first = end_symbols(merges, initial, &BpeMerge::left);
  std::vector<std::pair<uint32_t, uint32_t>> joined;
  for (const auto& merge : merges) {
    const uint32_t left = last[merge.left], right = first[merge.right];
    if (left == kNothing || right == kNothing) continue;  // never happens
    // Tokens of several spellings are for odd vocabularies; those are not cut at all.
    if (left == kMany || right == kMany) return;
    joined.emplace_back(left, right);
  }
  std::sort(joined.begin(), joined.end());
  joined.erase(std::unique(joined.begin(), joined.end()), joined.end());
  first_.assign(initial.size() + 1, 0);
  for (const auto& [left, right] : joined) {
    ++first_[left + 1];
    right_.push_back(right);
  }
  for (size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];
}

bool MergeCuts::may_cut(uint32_t left, uint32_t right) const {
  if (first_.empty()) return false;
  return !std::binary_search(right_.begin() + first_[left], right_.begin() + first_[left + 1], right);
}

void MergeLoop::run(std::vector<int32_t>& ids, size_t from) {
  const auto count = static_cast<uint32_t>(ids.size() - from);
  if (count < 2) return;
  symbols_.resize(count);
  heap_.clear();
  const auto candidate = [&](uint32_t at) -> const BpeMerge* {
    return table_.find(static_cast<uint32_t>(symbols_[at].id), static_cast<uint32_t>(symbols_[symbols_[at].next].id));
  };
  for (uint32_t i = 0; i < count; ++i) symbols_[i] = {ids[from + i], i - 1, i + 1 < count ? i + 1 : kEnd};
  for (uint32_t i = 0; i + 1 < count; ++i) {
    if (const BpeMerge* merge = candidate(i)) heap_.push_back({merge->rank, i, merge});
  }
  std::make_heap(heap_.begin(), heap_.end());
  const auto push = [&](uint32_t at) {
    if (const BpeMerge* merge = candidate(at)) {
      heap_.push_back({merge->rank, at, merge});
      std::push_heap(heap_.begin(), heap_.end());
    }
  };
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end());
    const Candidate best = heap_.back();
    heap_.pop_back();
    // Merges since may have taken one of its halves.
    Symbol& left = symbols_[best.at];
    if (left.id != static_cast<int32_t>(best.merge->left) || left.next == kEnd) continue;
    Symbol& right = symbols_[left.next];
    if (right.id != static_cast<int32_t>(best.merge->right)) continue;
    left.id = static_cast<int32_t>(best.merge->whole);
    right.id = kGone;
    left.next = right.next;
    if (left.next != kEnd) symbols_[left.next].previous = best.at;
    if (best.at > 0) push(left.previous);
    if (left.next != kEnd) push(best.at);
  }
  size_t out = from;
  for (uint32_t i = 0; i != kEnd; i = symbols_[i].next) ids[out++] = symbols_[i].id;
  ids.resize(out);
}

}  // namespace mxq
