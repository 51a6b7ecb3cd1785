#include "format/torch_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "expect_error.h"
#include "format/weights.h"
#include "torch_builder.h"

namespace mxq {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Tensor = PickleBuilder::Tensor;

std::span<const std::byte> view(const std::string& bytes) {
  return std::as_bytes(std::span(bytes));
}

const std::string kSix = bytes_of(std::vector<float>{0, 1, 2, 3, 4, 5});

// A dict of what `fill` puts between MARK and SETITEMS.
std::string dict_file(const std::function<void(PickleBuilder&)>& fill) {
  PickleBuilder pickle;
  pickle.op("}(");
  fill(pickle);
  return torch_file(pickle.op("u").done(), {{"0", kSix}});
}

std::string one_tensor(const Tensor& tensor) {
  return dict_file([&](PickleBuilder& pickle) { pickle.text("w").tensor(tensor); });
}

void refused(const std::string& file, std::string_view message, ErrorCode code = ErrorCode::invalid_file) {
  expect_error(code, message, [&] { parse_torch_file(view(file), "f.pth"); });
}

// The pickle as it is, behind PROTO and before STOP.
void refused_pickle(const PickleBuilder& pickle, std::string_view message, ErrorCode code = ErrorCode::invalid_file) {
  refused(torch_file(pickle.done(), {{"0", kSix}}), message, code);
}

std::vector<float> floats(const TensorView& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  read_f32(tensor, 0, tensor.elements(), values.data());
  return values;
}

TEST(TorchFile, ReadsAStateDict) {
  const std::string file = dict_file([](PickleBuilder& pickle) {
    pickle.text("b").tensor({"FloatStorage", "0", 6, 0, {2, 3}, {3, 1}});
    pickle.text("a").tensor({"FloatStorage", "0", 6, 1, {2, 2}, {3, 1}});
    pickle.text("c").tensor({"FloatStorage", "0", 6, 5, {}, {}});
    pickle.text("empty").tensor({"FloatStorage", "0", 6, 0, {0, 3}, {3, 1}});
    pickle.text("epoch").integer(3);
  });
  const StoredTensors stored = parse_torch_file(view(file), "f.pth");
  ASSERT_EQ(stored.tensors.size(), 4u);
  EXPECT_EQ(stored.tensors[0].name, "a");
  EXPECT_EQ(stored.tensors[0].bytes.size(), 5 * sizeof(float)) << "from the first element to the last";
  EXPECT_THAT(stored.strides.at("a"), ElementsAre(3, 1));
  EXPECT_THAT(floats(stored.tensors[1]), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(floats(stored.tensors[2]), ElementsAre(5));
  EXPECT_EQ(stored.tensors[3].bytes.size(), 0u);
  EXPECT_EQ(stored.strides.size(), 1u);
  ASSERT_EQ(stored.notes.size(), 1u);
  EXPECT_THAT(stored.notes[0], HasSubstr("1 entries of the state dict are no tensors, such as 'epoch'"));
}

TEST(TorchFile, OrdersTensorsAsSafetensorsDoes) {
  const std::string file = dict_file([](PickleBuilder& pickle) {
    pickle.text("a").tensor({"HalfStorage", "0", 12, 0, {2}, {1}});
    pickle.text("d").tensor({"FloatStorage", "0", 6, 0, {2}, {1}});
    pickle.text("b").tensor({"FloatStorage", "0", 6, 0, {2}, {1}});
    pickle.text("e").tensor({"LongStorage", "0", 3, 0, {2}, {1}});
    pickle.text("c").tensor({"BFloat16Storage", "0", 12, 0, {2}, {1}});
  });
  std::string order;
  for (const TensorView& tensor : parse_torch_file(view(file), "f.pth").tensors) order += tensor.name;
  EXPECT_EQ(order, "ebdca");
}

TEST(TorchFile, FindsTheStateDictInACheckpoint) {
  const auto inner = [](PickleBuilder& pickle) {
    pickle.op("}").text("module.w").tensor({"FloatStorage", "0", 6, 0, {6}, {1}}).op("s");
  };
  for (const char* key : {"model", "state_dict", "model_state_dict", "module"}) {
    const std::string file = dict_file([&](PickleBuilder& pickle) {
      pickle.text("optimizer").op("}").text("step").integer(1).op("s").text(key);
      inner(pickle);
    });
    EXPECT_EQ(parse_torch_file(view(file), "f.pth").tensors.at(0).name, "w") << key;
  }
  refused(dict_file([&](PickleBuilder& pickle) {
            pickle.text("model");
            inner(pickle);
            pickle.text("state_dict");
            inner(pickle);
          }),
          "several state dicts: 'model', 'state_dict'", ErrorCode::unsupported);
  refused(dict_file([](PickleBuilder& pickle) { pickle.text("encoder").op("}"); }),
          "a dict of 1 entries without tensors, such as 'encoder'", ErrorCode::unsupported);
  refused(torch_file(PickleBuilder().op("]").done(), {}), "data.pkl holds a list, not a dict", ErrorCode::unsupported);
  refused(torch_file(PickleBuilder().op("}").done(), {}), "data.pkl holds no tensors", ErrorCode::unsupported);
  // A dict that holds itself.
  refused(torch_file(PickleBuilder()
                         .op("}q")
                         .op(std::string(1, '\0'))
                         .text("model")
                         .op("h")
                         .op(std::string(1, '\0'))
                         .op("s")
                         .done(),
                     {}),
          "dicts within each other", ErrorCode::unsupported);
}

TEST(TorchFile, ReadsParametersAndOtherRebuilds) {
  const auto v2 = [](PickleBuilder& pickle) { pickle.tensor({"FloatStorage", "0", 6, 0, {6}, {1}}); };
  const std::string file = dict_file([&](PickleBuilder& pickle) {
    pickle.text("a").global("torch._utils", "_rebuild_parameter");
    v2(pickle);
    pickle.op("\x88").global("collections", "OrderedDict").op(")R\x87R");
    pickle.text("b").global("torch._utils", "_rebuild_parameter_with_state").op("(");
    v2(pickle);
    pickle.op("\x88").global("collections", "OrderedDict").op(")R}tR");
    pickle.text("c").global("torch._utils", "_rebuild_tensor_v3").op("((").text("storage");
    pickle.global("torch.storage", "UntypedStorage")
        .text("0")
        .text("cpu")
        .integer(24)
        .op("tQ")
        .integer(2)
        .tuple({3})
        .tuple({1});
    pickle.op("\x89").global("collections", "OrderedDict").op(")R").global("torch", "float8_e4m3fn").op("tR");
    pickle.text("d")
        .global("torch._tensor", "_rebuild_from_type_v2")
        .op("(")
        .global("torch._utils", "_rebuild_tensor_v2");
    pickle.global("torch.nn.parameter", "Parameter")
        .op("(")
        .storage("FloatStorage", "0", 6)
        .integer(0)
        .tuple({6})
        .tuple({1});
    pickle.op("\x89").global("collections", "OrderedDict").op(")Rt}tR");
    // What torch.save puts beside tensors.
    pickle.text("e").global("torch", "Size").tuple({1, 2}).op("\x85R");
    pickle.text("f").global("torch", "device").text("cpu").op("\x85R");
    pickle.text("g").global("__builtin__", "set").op("]\x85R");
    pickle.text("h").global("_codecs", "encode").text("ab").text("latin1").op("\x86R");
    pickle.text("i").global("torch", "float16");
  });
  const StoredTensors stored = parse_torch_file(view(file), "f.pth");
  std::string names;
  for (const TensorView& tensor : stored.tensors) names += tensor.name + std::string(dtype_name(tensor.dtype)) + " ";
  EXPECT_EQ(names, "aF32 bF32 dF32 cF8_E4M3 ");
  EXPECT_EQ(stored.tensors[3].bytes.data(), stored.tensors[0].bytes.data() + 2);
}

TEST(TorchFile, AnOrderedDictMayHaveAttributes) {
  PickleBuilder pickle;
  pickle.global("collections", "OrderedDict").op(")R(").text("w").tensor({"FloatStorage", "0", 6, 0, {6}, {1}});
  pickle.op("u}").text("_metadata").op("}sb");
  EXPECT_EQ(parse_torch_file(view(torch_file(pickle.done(), {{"0", kSix}})), "f.pth").tensors.size(), 1u);
}

TEST(TorchFile, RunsNothing) {
  for (const auto& [module, name] :
       std::vector<std::pair<std::string, std::string>>{{"os", "system"},
                                                        {"posix", "system"},
                                                        {"builtins", "eval"},
                                                        {"__builtin__", "getattr"},
                                                        {"torch", "load"},
                                                        {"torch.jit", "load"},
                                                        {"collections", "OrderedDict.x"},
                                                        {"torch._utils", "_rebuild_qtensor"}}) {
    PickleBuilder pickle;
    pickle.global(module, name).text("touch /tmp/x").op("\x85R");
    refused_pickle(pickle, "data.pkl names '" + module + "." + name + "', which is not run", ErrorCode::unsupported);
    PickleBuilder stacked;
    stacked.text(module).text(name).op("\x93)R");
    refused_pickle(stacked, "data.pkl names '" + module + "." + name + "'", ErrorCode::unsupported);
  }
  refused_pickle(PickleBuilder().op("(S'x'\nios\nsystem\n"), "the opcode STRING at byte 3", ErrorCode::unsupported);
  refused_pickle(PickleBuilder().op("(ios\nsystem\n"), "the opcode INST", ErrorCode::unsupported);
  refused_pickle(PickleBuilder().op("\x82\1"), "the opcode EXT1", ErrorCode::unsupported);
  refused_pickle(PickleBuilder().op("\xff"), "the opcode 0xff", ErrorCode::unsupported);
  refused_pickle(PickleBuilder().global("torch", "FloatStorage").op(")R"), "calls 'torch.FloatStorage'",
                 ErrorCode::unsupported);
  refused_pickle(PickleBuilder().text("os").op(")R"), "what is called is a str");
  refused_pickle(PickleBuilder().global("torch", "Size").op("}b"), "gives attributes to a global");
  refused_pickle(PickleBuilder().global("collections", "OrderedDict").op("}R"), "what it is called with is a dict");
  refused_pickle(PickleBuilder().global("collections", "OrderedDict").op("N\x85R"), "with 1 arguments");
  refused_pickle(PickleBuilder().op("c" + std::string(1000, 'a') + "\nb\n"), "names something without an end");
}

TEST(TorchFile, BreaksOffWhatIsNoPickle) {
  refused(torch_file("", {}), "data.pkl of 0 bytes ends within an opcode");
  refused(torch_file("}.", {}), "data.pkl does not begin as a pickle");
  refused(torch_file("\x80\x01}.", {}), "pickle protocol 1", ErrorCode::unsupported);
  refused(torch_file("\x80\x02}", {}), "ends within an opcode");
  refused(torch_file("\x80\x02}}.", {}), "ends with 2 values");
  refused(torch_file("\x80\x02(}.", {}), "ends with 1 values");
  refused(torch_file("\x80\x02.", {}), "ends with 0 values");
  refused_pickle(PickleBuilder().op("X\xff\xff\xff\xff"), "ends within an opcode");
  refused_pickle(PickleBuilder().op("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"), "ends within an opcode");
  refused_pickle(PickleBuilder().op("\x95\xff\xff\xff\xff\xff\xff\xff\xff"), "FRAME at byte 2 ends beyond");
  refused_pickle(PickleBuilder().op("0"), "takes a value from an empty stack");
  refused_pickle(PickleBuilder().op("N(0"), "data.pkl holds None, not a dict", ErrorCode::unsupported);
}

TEST(TorchFile, BoundsStackMemoAndDepth) {
  refused_pickle(PickleBuilder().op("}r\xff\xff\xff\xff"), "LONG_BINPUT at byte 3 has the memo's index 4294967295");
  refused_pickle(PickleBuilder().op("j\1").op(std::string(3, '\0')), "asks the memo for 1");
  refused_pickle(PickleBuilder().op("h\5"), "asks the memo for 5");
  refused_pickle(PickleBuilder().op("t"), "needs a MARK");
  refused_pickle(PickleBuilder().op("N\x86"), "takes 2 values from a stack of 1");
  refused_pickle(PickleBuilder().op("Na"), "needs a value on the stack");
  refused_pickle(PickleBuilder().op("NNa"), "adds to None");
  refused_pickle(PickleBuilder().op("}(Nu"), "has a key without a value");
  refused_pickle(PickleBuilder().op(std::string((size_t{1} << 22) + 1, 'N')), "too many values");
  refused_pickle(PickleBuilder().op(std::string((size_t{1} << 22) + 1, '(')), "too many marks");
  std::string gets = "Nq";
  gets += '\0';
  for (size_t i = 0; i <= size_t{1} << 22; ++i) gets += std::string("h\0", 2);
  refused_pickle(PickleBuilder().op(gets), "a stack of more than 4194304 values");
  // A million lists in each other, and a list that holds itself: neither is ever walked.
  std::string nested(1'000'000, ']');
  nested += std::string(999'999, 'a');
  refused_pickle(PickleBuilder().op(nested), "holds a list", ErrorCode::unsupported);
  refused_pickle(PickleBuilder().op(std::string("]q\0h\0a", 6)), "holds a list", ErrorCode::unsupported);
  refused_pickle(PickleBuilder().global("torch", "Size").op("(").op(std::string(100, 'N')).op("t\x85R"),
                 "a torch.Size of 100 extents");
}

TEST(TorchFile, ChecksStorages) {
  refused(one_tensor({"FloatStorage", "1", 6, 0, {6}, {1}}), "storage '1' is not in the archive");
  refused(one_tensor({"FloatStorage", "../0", 6, 0, {6}, {1}}), "storage '../0' is not in the archive");
  refused(one_tensor({"FloatStorage", "0", 7, 0, {6}, {1}}), "should hold 7 elements of F32 and has 24 bytes");
  refused(one_tensor({"FloatStorage", "0", -1, 0, {6}, {1}}), "should hold -1 elements");
  refused(one_tensor({"DoubleStorage", "0", int64_t{1} << 61, 0, {3}, {1}}),
          "should hold 2305843009213693952 elements");
  refused(one_tensor({"QInt8Storage", "0", 24, 0, {6}, {1}}), "'torch.QInt8Storage', which is not run",
          ErrorCode::unsupported);
  refused(one_tensor({"Size", "0", 24, 0, {6}, {1}}), "a storage's type is 'torch.Size'");
  refused(one_tensor({"UntypedStorage", "0", 24, 0, {6}, {1}}), "a tensor without a dtype");
  refused_pickle(PickleBuilder().op("NQ"), "a persistent id is None");
  refused_pickle(PickleBuilder().op(")Q"), "a persistent id of 0 parts");
  refused_pickle(PickleBuilder().op("(").text("module").op("NNNNtQ"), "('storage', type, key, device, elements)");
}

TEST(TorchFile, ChecksTensors) {
  constexpr int64_t most = std::numeric_limits<int64_t>::max();
  const auto wrong = [](int64_t offset, std::vector<int64_t> shape, std::vector<int64_t> strides,
                        std::string_view message, ErrorCode code = ErrorCode::invalid_file) {
    refused(one_tensor({"FloatStorage", "0", 6, offset, std::move(shape), std::move(strides)}), message, code);
  };
  wrong(0, {7}, {1}, "a tensor of shape [7], strides [1], offset 0 in storage '0' of 24 bytes: it ends beyond it");
  wrong(1, {6}, {1}, "it ends beyond it");
  wrong(most, {6}, {1}, "it ends beyond it");
  wrong(-1, {6}, {1}, "expected no negative numbers");
  wrong(0, {-6}, {1}, "expected no negative numbers");
  wrong(5, {6}, {-1}, "expected no negative numbers");
  wrong(0, {2, 3}, {1}, "as many strides as extents");
  wrong(0, {most, most}, {1, 1}, "its size overflows");
  wrong(0, {int64_t{1} << 32, int64_t{1} << 32}, {0, 0}, "its size overflows");
  wrong(0, {3, 2}, {most, 1}, "it ends beyond it");
  wrong(0, {1000, 1000}, {0, 0}, "an expanded view", ErrorCode::unsupported);
  wrong(0, std::vector<int64_t>(17, 1), std::vector<int64_t>(17, 1), "a tensor of 17 dimensions");
  wrong(0, {2, most}, {0, 0}, "its size overflows");
  refused(dict_file([](PickleBuilder& pickle) {
            pickle.text("w").global("torch._utils", "_rebuild_tensor_v2").op("(").storage("FloatStorage", "0", 6);
            pickle.integer(0).tuple({6}).tuple({1}).op("\x89N}").text("neg").op("\x88stR");
          }),
          "a lazy negative or conjugate", ErrorCode::unsupported);
  refused(dict_file([](PickleBuilder& pickle) {
            pickle.text("w").tensor({"FloatStorage", "0", 6, 0, {6}, {1}});
            pickle.text("w").tensor({"FloatStorage", "0", 6, 0, {6}, {1}});
          }),
          "'w' is there twice");
  refused(dict_file([](PickleBuilder& pickle) {
            pickle.text("\xff").tensor({"FloatStorage", "0", 6, 0, {6}, {1}});
          }),
          "a name that is not UTF-8");
}

}  // namespace
}  // namespace mxq
