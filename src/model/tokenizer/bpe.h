// Byte-pair encoding: the merge loop.
// Source: Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with Subword Units" (ACL 2016).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mxq {

/// Two neighbouring tokens that become one. The lowest rank goes first, among equal ranks the leftmost pair.
struct BpeMerge {
  uint32_t left = 0, right = 0, whole = 0;
  uint32_t rank = 0;
};

/// Looks merges up by their halves. By search among those of one left half, so no choice of keys makes it slow.
class MergeTable {
 public:
  /// Of merges that have both halves in common, the one with the lowest rank counts. Ids are below `vocab_size`.
  MergeTable(std::vector<BpeMerge> merges, size_t vocab_size);
  MergeTable() = default;

  /// nullptr where the two do not merge.
  const BpeMerge* find(uint32_t left, uint32_t right) const;

 private:
  std::vector<BpeMerge> merges_;  // by left, right
  std::vector<uint32_t> first_;   // of each left half; one more for the end
};

/// Where no merge can reach across, so that a long text falls into short ones, most of which come often.
class MergeCuts {
 public:
  /// `initial`: by id, whether a text can consist of that symbol before anything is merged.
  MergeCuts(const std::vector<BpeMerge>& merges, const std::vector<bool>& initial);
  MergeCuts() = default;

  /// True if the merge loop gives the same for a text of initial symbols as for its two parts, cut between neighbours
  /// `left` and `right`, one after the other.
  bool may_cut(uint32_t left, uint32_t right) const;

 private:
  std::vector<uint32_t> right_;  // symbols that a token may hold right after another, sorted
  std::vector<uint32_t> first_;  // in right_, of each left one; one more for the end; empty: nothing may be cut
};

/// Applies merges in O(n log n). Holds memory that words share; not for two threads at once.
class MergeLoop {
 public:
  explicit MergeLoop(const MergeTable& table) : table_(table) {}

  /// Merges `ids[from..]` until no two neighbours merge, and shortens the vector.
  void run(std::vector<int32_t>& ids, size_t from);

 private:
  struct Candidate {
    uint32_t rank, at;  // `at` is the left symbol
    const BpeMerge* merge;
    bool operator<(const Candidate& other) const {  // as std::push_heap wants it: the best is the greatest
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  struct Symbol {
    int32_t id;  // kGone once merged into its left neighbour
    uint32_t previous, next;
  };

  const MergeTable& table_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;
};

}  // namespace mxq
