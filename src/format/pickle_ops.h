// Opcodes of pickles: Lib/pickle.py and Lib/pickletools.py of Python.
#pragma once

#include <cstdint>
#include <string>

namespace mxq {

enum class PickleOp : uint8_t {
  proto = 0x80,
  stop = '.',
  frame = 0x95,
  mark = '(',
  pop = '0',
  pop_mark = '1',
  none = 'N',
  new_true = 0x88,
  new_false = 0x89,
  bin_int = 'J',
  bin_int1 = 'K',
  bin_int2 = 'M',
  long1 = 0x8a,
  bin_float = 'G',
  bin_string = 'T',
  short_bin_string = 'U',
  bin_unicode = 'X',
  short_bin_unicode = 0x8c,
  bin_unicode8 = 0x8d,
  bin_bytes = 'B',
  short_bin_bytes = 'C',
  bin_bytes8 = 0x8e,
  empty_tuple = ')',
  tuple = 't',
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  empty_list = ']',
  append = 'a',
  appends = 'e',
  empty_dict = '}',
  set_item = 's',
  set_items = 'u',
  empty_set = 0x8f,
  add_items = 0x90,
  bin_get = 'h',
  long_bin_get = 'j',
  bin_put = 'q',
  long_bin_put = 'r',
  memoize = 0x94,
  global = 'c',
  stack_global = 0x93,
  reduce = 'R',
  new_obj = 0x81,
  build = 'b',
  bin_pers_id = 'Q',
};

/// "INST", as Python calls the opcodes that exist, whether or not one is read here; else "0x7f".
std::string pickle_op_name(uint8_t op);

}  // namespace mxq
