#include "format/pickle.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "format/le_bytes.h"
#include "format/pickle_ops.h"
#include "format/torch_globals.h"
#include "format/torch_rebuild.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr size_t kMostBytes = 100'000'000;       // as of a safetensors header
constexpr size_t kMostValues = size_t{1} << 22;  // about 17 go into a tensor
constexpr size_t kLongestGlobal = 256;
constexpr int kFirstProtocol = 2, kLastProtocol = 5;
constexpr uint32_t kNotSet = std::numeric_limits<uint32_t>::max();
constexpr const char* kWeights = "weights alone, as torch.save(model.state_dict(), FILE) writes them";

using Value = PickleValue;
using Op = PickleOp;

class PickleMachine {
 public:
  PickleMachine(const TorchZip& archive, const std::string& source)
      : archive_(archive), bytes_(archive.pickle), operation_("read " + source) {}

  Pickle run() {
    if (bytes_.size() > kMostBytes) {
      fail(fmt::format("data.pkl has {} bytes", bytes_.size()), fmt::format("at most {}", kMostBytes));
    }
    while (true) {
      op_at_ = at_;
      const auto op = number<uint8_t>();
      if (op_at_ == 0 && op != static_cast<uint8_t>(Op::proto)) fail("data.pkl does not begin as a pickle");
      if (static_cast<Op>(op) == Op::stop) break;
      step(op);
    }
    if (stack_.size() != 1 || !marks_.empty()) {
      fail(fmt::format("data.pkl ends with {} values on its stack", stack_.size()), "one");
    }
    return {std::move(all_), stack_.front()};
  }

 private:
  [[noreturn]] void fail(const std::string& given, const std::string& allowed = {}) const {
    throw Error(ErrorCode::invalid_file, operation_, given, allowed);
  }
  // What is wrong with the opcode at hand.
  [[noreturn]] void fail_here(const std::string& what, const std::string& allowed = {}) const {
    const auto op = std::to_integer<uint8_t>(bytes_[op_at_]);
    fail(fmt::format("data.pkl: {} at byte {} {}", pickle_op_name(op), op_at_, what), allowed);
  }

  std::span<const std::byte> take(uint64_t count) {
    if (count > bytes_.size() - at_) fail(fmt::format("data.pkl of {} bytes ends within an opcode", bytes_.size()));
    at_ += count;
    return bytes_.subspan(at_ - count, count);
  }
  template <typename Int>
  Int number() {
    return read_le<Int>(take(sizeof(Int)).data());
  }
  std::string_view text(uint64_t length) {
    const auto taken = take(length);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
  // Up to the newline.
  std::string_view line() {
    const size_t room = std::min(bytes_.size() - at_, kLongestGlobal + 1);
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data() + at_), room);
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos) {
      fail_here("names something without an end", fmt::format("at most {} characters", kLongestGlobal));
    }
    at_ += end + 1;
    return rest.substr(0, end);
  }

  void push(uint32_t value) {
    if (stack_.size() == kMostValues) fail_here(fmt::format("makes a stack of more than {} values", kMostValues));
    stack_.push_back(value);
  }
  void push(Value value) {
    if (all_.values.size() == kMostValues) fail_here("makes too many values", fmt::format("at most {}", kMostValues));
    all_.values.push_back(std::move(value));
    push(static_cast<uint32_t>(all_.values.size() - 1));
  }
  void push(Value::Kind kind, int64_t number = 0) { push(Value{.kind = kind, .number = number}); }
  void push(Value::Kind kind, std::string_view text) { push(Value{.kind = kind, .text = text}); }

  // Values above the last mark.
  size_t free_values() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }
  uint32_t pop() {
    if (free_values() == 0) fail_here("takes a value from an empty stack");
    const uint32_t value = stack_.back();
    stack_.pop_back();
    return value;
  }
  uint32_t top() const {
    if (free_values() == 0) fail_here("needs a value on the stack");
    return stack_.back();
  }
  std::vector<uint32_t> pop_last(size_t count) {
    if (free_values() < count) fail_here(fmt::format("takes {} values from a stack of {}", count, free_values()));
    std::vector<uint32_t> last(stack_.end() - static_cast<std::ptrdiff_t>(count), stack_.end());
    stack_.resize(stack_.size() - count);
    return last;
  }
  std::vector<uint32_t> pop_to_mark() {
    if (marks_.empty()) fail_here("needs a MARK");
    auto items = pop_last(free_values());
    marks_.pop_back();
    return items;
  }

  void put(uint64_t index, uint32_t value) {
    if (index >= kMostValues)
      fail_here(fmt::format("has the memo's index {}", index), fmt::format("below {}", kMostValues));
    if (index >= memo_.size()) memo_.resize(index + 1, kNotSet);
    memo_[index] = value;
    memoized_ = std::max(memoized_, index + 1);
  }
  void get(uint64_t index) {
    if (index >= memo_.size() || memo_[index] == kNotSet)
      fail_here(fmt::format("asks the memo for {}", index), "what is in it");
    push(memo_[index]);
  }

  // Adds to the list, set or dict on the stack.
  void add(Value::Kind kind, const std::vector<uint32_t>& items) {
    Value& to = all_.values[top()];
    if (to.kind != kind) {
      fail_here(fmt::format("adds to {}", kind_name(to.kind)), std::string(kind_name(kind)));
    }
    if (kind == Value::dict && items.size() % 2 != 0) fail_here("has a key without a value");
    to.items.insert(to.items.end(), items.begin(), items.end());
  }

  void push_global(std::string_view module, std::string_view name) {
    const auto found = find_torch_global(module, name);
    if (!found) {
      throw Error(ErrorCode::unsupported, operation_,
                  fmt::format("data.pkl names {}, which is not run", in_quotes(fmt::format("{}.{}", module, name))),
                  kWeights);
    }
    push(Value::global, static_cast<int64_t>(*found));
  }

  std::string_view text_of(uint32_t value) const {
    if (all_.at(value).kind != Value::string)
      fail_here(fmt::format("takes {} for a name", kind_name(all_.at(value).kind)));
    return all_.at(value).text;
  }

  void step(uint8_t op) {
    if (build_plain(static_cast<Op>(op)) || build_container(static_cast<Op>(op))) return;
    switch (static_cast<Op>(op)) {
      case Op::proto:
        if (const auto protocol = number<uint8_t>(); protocol < kFirstProtocol || protocol > kLastProtocol) {
          throw Error(ErrorCode::unsupported, operation_, fmt::format("data.pkl has pickle protocol {}", protocol),
                      fmt::format("{} to {}", kFirstProtocol, kLastProtocol));
        }
        return;
      case Op::frame:
        if (const auto length = number<uint64_t>(); length > bytes_.size() - at_) fail_here("ends beyond data.pkl");
        return;
      case Op::mark:
        if (marks_.size() == kMostValues) fail_here("makes too many marks", fmt::format("at most {}", kMostValues));
        return marks_.push_back(stack_.size());
      case Op::pop:
        if (free_values() == 0 && !marks_.empty()) return marks_.pop_back();
        pop();
        return;
      case Op::pop_mark:
        pop_to_mark();
        return;
      case Op::bin_get:
        return get(number<uint8_t>());
      case Op::long_bin_get:
        return get(number<uint32_t>());
      case Op::bin_put:
        return put(number<uint8_t>(), top());
      case Op::long_bin_put:
        return put(number<uint32_t>(), top());
      case Op::memoize:
        return put(memoized_, top());
      case Op::global: {
        const auto module = line(), name = line();
        return push_global(module, name);
      }
      case Op::stack_global: {
        const auto name = text_of(pop()), module = text_of(pop());
        return push_global(module, name);
      }
      case Op::reduce:
      case Op::new_obj: {
        const uint32_t arguments = pop(), called = pop();
        return push(torch_call(all_, called, arguments, operation_));
      }
      case Op::build: {
        pop();  // attributes, such as a state dict's _metadata
        const Value::Kind kind = all_.at(top()).kind;
        if (kind != Value::dict && kind != Value::tensor && kind != Value::other) {
          fail_here(fmt::format("gives attributes to {}", kind_name(kind)), "an OrderedDict or a tensor");
        }
        return;
      }
      case Op::bin_pers_id:
        return push(torch_storage(all_, pop(), archive_, operation_));
      default:
        throw Error(ErrorCode::unsupported, operation_,
                    fmt::format("data.pkl has the opcode {} at byte {}", pickle_op_name(op), op_at_), kWeights);
    }
  }

  // Values without parts.
  bool build_plain(Op op) {
    switch (op) {
      case Op::none:
        push(Value::none);
        return true;
      case Op::new_true:
      case Op::new_false:
        push(Value::boolean, op == Op::new_true);
        return true;
      case Op::bin_int:
        push(Value::integer, number<int32_t>());
        return true;
      case Op::bin_int1:
        push(Value::integer, number<uint8_t>());
        return true;
      case Op::bin_int2:
        push(Value::integer, number<uint16_t>());
        return true;
      case Op::long1:
        push_long(take(number<uint8_t>()));
        return true;
      case Op::bin_float:
        take(sizeof(double));
        push(Value::real);
        return true;
      case Op::short_bin_string:
      case Op::short_bin_unicode:
        push(Value::string, text(number<uint8_t>()));
        return true;
      case Op::bin_string:
      case Op::bin_unicode:
        push(Value::string, text(number<uint32_t>()));
        return true;
      case Op::bin_unicode8:
        push(Value::string, text(number<uint64_t>()));
        return true;
      case Op::short_bin_bytes:
        push(Value::bytes, text(number<uint8_t>()));
        return true;
      case Op::bin_bytes:
        push(Value::bytes, text(number<uint32_t>()));
        return true;
      case Op::bin_bytes8:
        push(Value::bytes, text(number<uint64_t>()));
        return true;
      default:
        return false;
    }
  }

  // Two's complement, little-endian, of any length. What an int64_t cannot hold is no size of a tensor.
  void push_long(std::span<const std::byte> bytes) {
    if (bytes.size() > sizeof(int64_t)) return push(Value::other);
    uint64_t value = 0;
    for (size_t i = 0; i < bytes.size(); ++i) value |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
    const bool negative = !bytes.empty() && (bytes.back() & std::byte{0x80}) != std::byte{0};
    if (negative && bytes.size() < sizeof(int64_t)) value |= ~uint64_t{0} << (8 * bytes.size());
    push(Value::integer, static_cast<int64_t>(value));
  }

  bool build_container(Op op) {
    switch (op) {
      case Op::empty_tuple:
        push(Value::tuple);
        return true;
      case Op::empty_list:
        push(Value::list);
        return true;
      case Op::empty_set:
        push(Value::set);
        return true;
      case Op::empty_dict:
        push(Value::dict);
        return true;
      case Op::tuple:
        push_tuple(pop_to_mark());
        return true;
      case Op::tuple1:
        push_tuple(pop_last(1));
        return true;
      case Op::tuple2:
        push_tuple(pop_last(2));
        return true;
      case Op::tuple3:
        push_tuple(pop_last(3));
        return true;
      case Op::append:
        add(Value::list, pop_last(1));
        return true;
      case Op::appends:
        add(Value::list, pop_to_mark());
        return true;
      case Op::add_items:
        add(Value::set, pop_to_mark());
        return true;
      case Op::set_item:
        add(Value::dict, pop_last(2));
        return true;
      case Op::set_items:
        add(Value::dict, pop_to_mark());
        return true;
      default:
        return false;
    }
  }

  void push_tuple(std::vector<uint32_t> items) { push(Value{.kind = Value::tuple, .items = std::move(items)}); }

  const TorchZip& archive_;
  std::span<const std::byte> bytes_;
  std::string operation_;
  PickleValues all_;
  std::vector<uint32_t> stack_;
  std::vector<size_t> marks_;  // how many values the stack had
  std::vector<uint32_t> memo_;
  uint64_t memoized_ = 0;
  size_t at_ = 0, op_at_ = 0;
};

}  // namespace

std::string_view kind_name(PickleValue::Kind kind) {
  switch (kind) {
    case Value::none:
      return "None";
    case Value::boolean:
      return "a bool";
    case Value::integer:
      return "an int";
    case Value::real:
      return "a float";
    case Value::string:
      return "a str";
    case Value::bytes:
      return "bytes";
    case Value::tuple:
      return "a tuple";
    case Value::list:
      return "a list";
    case Value::set:
      return "a set";
    case Value::dict:
      return "a dict";
    case Value::global:
      return "a global";
    case Value::storage:
      return "a storage";
    case Value::tensor:
      return "a tensor";
    case Value::other:
      break;
  }
  return "another object";
}

Pickle parse_pickle(const TorchZip& archive, const std::string& source) {
  return PickleMachine(archive, source).run();
}

}  // namespace mxq
