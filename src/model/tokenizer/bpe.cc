#include "model/tokenizer/bpe.h"

#include <algorithm>
#include <tuple>

namespace mxq {

namespace {
constexpr int32_t kGone = -1;
constexpr uint32_t kEnd = UINT32_MAX;
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
