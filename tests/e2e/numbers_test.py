"""Numbers that are none: in any tensor of a model, in the metadata of a checkpoint, in kept logits and in results. They are
refused by name, or copied with a word where copying is all that is asked for."""
import array
import json
import math
import shutil
import struct
import unittest

from support import MxqTest, bf16, f16, f32, floats, read_folder, small_text_model, write_safetensors

TEXT = "The tower is 324 metres tall, about the same height as an 81-storey building. "
MATRIX = "model.layers.1.mlp.up_proj"


def f64(values):
    return struct.pack(f"<{len(values)}d", *values)


ENCODE = {"F64": f64, "F32": f32, "F16": f16, "BF16": bf16}
NOT_FINITE = ((math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"))


def with_value(tensor, index, value):
    """The tensor with one element replaced."""
    dtype, shape, data = tensor
    element = ENCODE[dtype]([value])
    at = index * len(element)
    return dtype, shape, data[:at] + element + data[at + len(element):]


class Numbers(MxqTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        small_text_model(self.model)
        self.tensors = read_folder(self.model)
        self.text = self.folder / "text"
        self.text.write_text(TEXT)
        self.score = ("--text", self.text, "--window", 32)

    def write(self, tensors, folder=None):
        write_safetensors((folder or self.model) / "model.safetensors", tensors, {"format": "pt"})


class Checkpoints(Numbers):
    def checkpoint(self, name, *options):
        folder = self.folder / name
        self.mxq("quantize", self.model, "-o", folder, *options)
        return folder, read_folder(folder)

    def test_metadata_that_are_no_numbers_are_named(self):
        kinds = {"q8": ("--uniform", "b4g32"), "f16": ("--uniform", "b4g32", "--metadata", "f16"),
                 "f32": ("--uniform", "b4g32", "--metadata", "f32"), "gauss": ("--uniform", "gauss3g32"),
                 "km": ("--uniform", "km3g32"), "nf": ("--uniform", "nf4g32"),
                 "fp": ("--uniform", "fp4g32", "--metadata", "f32")}
        seen = set()
        for kind, options in kinds.items():
            folder, tensors = self.checkpoint(kind, "--fit", "rtn", "--normalize", "columns", *options)
            parts = [n for n, t in tensors.items() if n.startswith(MATRIX + ".") and t[0] in ENCODE]
            self.assertTrue(parts, kind)
            for part in parts:
                seen.add(part[len(MATRIX) + 1:])
                count = math.prod(tensors[part][1])
                for value, text in NOT_FINITE:
                    self.write({**tensors, part: with_value(tensors[part], count - 1, value)}, folder)
                    self.refuses("dequantize", folder, "-o", self.folder / "out",
                                 says=(f"'{part}' holds {text} at {count - 1}", "finite numbers"))
        self.assertEqual(seen, {"scale_steps", "zero_steps", "scales", "zeros", "column_scales", "levels", "offset",
                                "nested_absmax", "absmax"})

    def test_all_commands_refuse_them(self):
        folder, tensors = self.checkpoint("q8", "--uniform", "b4g32", "--fit", "rtn")
        part = MATRIX + ".scale_steps"
        self.write({**tensors, part: with_value(tensors[part], 0, math.nan)}, folder)
        says = (f"'{part}' holds nan at 0",)
        out = ("-o", self.folder / "out")
        for command in (("eval", folder, *self.score), ("eval", folder, *self.score, "--packed"),
                        ("eval", self.model, "--against", folder, *self.score), ("inspect", folder),
                        ("eval", folder, "--self", "--tokens", 9), ("generate", folder, "--prompt", "a", "--tokens", 9),
                        ("dequantize", folder, *out), ("measure", folder, "-o", self.folder / "errors.csv"),
                        ("quantize", folder, "--uniform", "b3g32", "--fit", "rtn", *out)):
            self.refuses(*command, says=says)

    def test_weights_beyond_fp32_are_named(self):
        folder, tensors = self.checkpoint("f32", "--uniform", "b4g32", "--fit", "rtn", "--metadata", "f32", "--normalize",
                                          "none")
        scales = with_value(tensors[MATRIX + ".scales"], 2 * 3 + 1, 3e38)  # two groups a row
        self.write({**tensors, MATRIX + ".scales": scales}, folder)
        says = (f"'{MATRIX}.weight' holds ", "inf at row 3, column ")
        self.refuses("dequantize", folder, "-o", self.folder / "out", says=says)
        self.refuses("eval", folder, *self.score, says=says)
        self.refuses("eval", folder, *self.score, "--packed", says=says)

    def test_booleans_are_booleans(self):
        folder, _ = self.checkpoint("q8", "--uniform", "b4g32", "--fit", "rtn")
        config = json.loads((folder / "config.json").read_text())
        for key in ("rotated", "column_scales"):
            for value in ("yes", "true", 1, None, []):
                changed = json.loads(json.dumps(config))
                changed["quantization_config"]["matrices"][MATRIX][key] = value
                (folder / "config.json").write_text(json.dumps(changed))
                self.refuses("eval", folder, *self.score, says=(MATRIX, f"'{key}' is {json.dumps(value)}"))


class Models(Numbers):
    def test_every_tensor_of_floats(self):
        names = ["model.norm.weight", "model.layers.1.input_layernorm.weight", "model.embed_tokens.weight", "lm_head.weight"]
        out = self.folder / "out"
        for name in names:
            dtype, shape, data = self.tensors[name]
            columns = math.prod(shape[1:])
            at = 3 * columns + columns - 1
            for value, text in NOT_FINITE:
                self.write({**self.tensors, name: with_value(self.tensors[name], at, value)})
                says = f"'{name}' holds {text} at row 3, column {columns - 1}"
                self.refuses("quantize", self.model, "--uniform", "b4g32", "--fit", "rtn", "-o", out, says=says)
                self.refuses("eval", self.model, *self.score, says=says)
                self.refuses("generate", self.model, "--prompt", "a", "--tokens", 9, says=says)

    def test_rows_of_an_embedding_that_are_looked_up(self):
        name = "model.embed_tokens.weight"
        row = ord("T") - 33  # byte_tokenizer() counts from "!"
        self.write({**self.tensors, name: with_value(self.tensors[name], row * 64 + 5, math.nan)})
        for packed in ((), ("--packed",)):
            self.refuses("eval", self.model, *self.score, *packed, says=f"'{name}' holds nan at row {row}, column 5")

    def test_side_tensors_of_every_dtype(self):
        out = self.folder / "out"
        for dtype, encode in ENCODE.items():
            quantize = ("quantize", self.model, "--uniform", "b4g32", "--fit", "rtn", "-o", out)
            for name, value, text in (("extra.weight", math.inf, "inf"), ("extra.bias", -math.inf, "-inf"),
                                      ("extra.mask", math.nan, "nan")):
                self.write({**self.tensors, name: (dtype, [2, 3], encode([0, 1, 2, 3, value, 5]))})
                self.refuses(*quantize, says=f"'{name}' holds {text} at row 1, column 1")
            # Masks are made of infinities; NaN behind one is still NaN.
            self.write({**self.tensors, "extra.mask": (dtype, [2, 3], encode([0, -math.inf, 2, 3, math.nan, 5]))})
            self.refuses(*quantize, says="'extra.mask' holds nan at row 1, column 1")
            mask = (dtype, [2, 3], encode([0, -math.inf, 2, 3, -math.inf, 5]))
            self.write({**self.tensors, "extra.mask": mask})
            done = self.run_mxq(*quantize, "--overwrite")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("'extra.mask' holds -inf at row 0, column 1: copied as it is", done.stderr)
            self.assertEqual(read_folder(out)["extra.mask"][2], mask[2])
            shutil.rmtree(out)

    def test_dequantize_copies_them_and_says_so(self):
        table = ("F32", [2, 3], f32([0, math.nan, 2, 3, math.inf, 5]))
        self.write({**self.tensors, "extra.table": table})
        for number, options in enumerate(((), ("--dtype", "f32"), ("--dtype", "bf16"))):
            out = self.folder / f"plain{number}"
            done = self.run_mxq("dequantize", self.model, "-o", out, *options)
            self.assertEqual(done.returncode, 0, done.stderr)
            said = [line for line in done.stderr.splitlines() if "extra.table" in line]
            self.assertEqual(len(said), 1, done.stderr)
            self.assertIn("'extra.table' holds nan at row 0, column 1: copied as it is", said[0])
            copied = read_folder(out)["extra.table"]
            if number < 2:
                self.assertEqual(copied[2], table[2])
            else:
                words = array.array("H", copied[2])
                self.assertEqual((words[0], words[1] & 0x7FC0, words[4]), (0, 0x7FC0, 0x7F80))

    def test_finite_numbers_whose_results_are_not(self):
        largest = 3.3e38
        name = "model.layers.1.mlp.down_proj.weight"
        shape = self.tensors[name][1]
        self.write({**self.tensors, name: ("BF16", shape, bf16([largest] * math.prod(shape)))})
        for command in (("eval", self.model, *self.score), ("eval", self.model, "--self", "--tokens", 9),
                        ("generate", self.model, "--prompt", "a", "--tokens", 9)):
            self.refuses(*command, "--json", says="layer 1 gives NaN or infinity")
        dtype, shape, data = self.tensors["lm_head.weight"]
        columns = shape[1]

        def one_row(value):  # a token whose logit is that times the sum of a state
            row = ord("e") - 33
            words = data[:row * columns * 2] + bf16([value] * columns) + data[(row + 1) * columns * 2:]
            self.write({**self.tensors, "lm_head.weight": (dtype, shape, words)})

        one_row(3e38)
        line = self.refuses("eval", self.model, *self.score, "--json", says=("the model, window ", ", token "))
        self.assertRegex(line, r"the output matrix gives NaN or infinity|a probability of 0")
        self.refuses("generate", self.model, "--prompt", "abc", "--tokens", 40, "--json",
                     says="the output matrix gives NaN or infinity")
        one_row(1e36)
        self.refuses("eval", self.model, *self.score, "--json", says=("perplexity exp(", "the largest loss is ", " at window "))
        small = self.folder / "small"
        small_text_model(small)
        self.refuses("eval", small, "--against", self.model, *self.score, "--json", says=("the base: perplexity exp(", "window "))


    def test_inputs_of_a_layer_that_cannot_be_squared(self):
        changed = dict(self.tensors)
        for module, factor in (("gate_proj", 1e9), ("up_proj", 1e13), ("down_proj", 1e-15)):
            name = f"model.layers.1.mlp.{module}.weight"
            shape = self.tensors[name][1]
            changed[name] = ("F32", shape, f32([x * factor for x in floats(self.tensors[name])]))
        self.write(changed)
        self.mxq("eval", self.model, *self.score)
        self.refuses("quantize", self.model, "--uniform", "b4g32", "--metadata", "f32", "--normalize", "none", "--fit",
                     "gptq", "-o", self.folder / "out", "--quiet",
                     says="the inputs of layer 1's mlp.down_proj have a mean square of inf")


class KeptLogits(Numbers):
    def setUp(self):
        super().setUp()
        self.small = self.folder / "small"
        self.mxq("quantize", self.model, "--uniform", "b3g32", "--fit", "rtn", "-o", self.small)
        self.kept = self.folder / "logits"
        self.compare = ("eval", self.small, "--against", self.model, *self.score, "--base-logits", self.kept)
        self.mxq(*self.compare)
        self.whole = self.kept.read_bytes()

    def refuses_bytes(self, data, says):
        self.kept.write_bytes(data)
        self.refuses(*self.compare, says=(str(self.kept), *says))
        self.assertEqual(self.kept.read_bytes(), data)

    def test_layout(self):
        rows, vocabulary, total = struct.unpack("<QQQ", self.whole[40:64])
        self.assertEqual(self.whole[:16], b"MXQLOGIT" + struct.pack("<Q", 3))
        self.assertEqual(vocabulary, 272)
        self.assertEqual(len(self.whole), 64 + rows * 4 * vocabulary)
        self.assertNotEqual(total, 0)

    def test_damage_is_found_wherever_it_is(self):
        row = 4 * 272
        rows = (len(self.whole) - 64) // row
        for number in (0, 1, rows // 2, rows - 1):
            for at in (0, row - 1):
                data = bytearray(self.whole)
                data[64 + number * row + at] ^= 1
                self.refuses_bytes(bytes(data), ("the logits are damaged", "written anew"))
        # The checksum itself, rows of the same file in another order, and NaN.
        self.refuses_bytes(self.whole[:63] + bytes([self.whole[63] ^ 1]) + self.whole[64:], ("are damaged",))
        first, second = self.whole[64:64 + row], self.whole[64 + row:64 + 2 * row]
        self.refuses_bytes(self.whole[:64] + second + first + self.whole[64 + 2 * row:], ("are damaged",))
        self.refuses_bytes(self.whole[:64] + f32([math.nan]) + self.whole[68:], ("are damaged",))

    def test_cut_short_and_foreign(self):
        for size in (64, 65, len(self.whole) - 1):
            self.refuses_bytes(self.whole[:size], (f"{size} bytes; expected {len(self.whole)} bytes", "written anew"))
        self.refuses_bytes(self.whole + b"\0", (f"{len(self.whole) + 1} bytes",))
        self.refuses_bytes(self.whole[:60], ("no file of logits", "written anew"))

    def test_other_versions(self):
        # Version 1: the hash stood where the version does, and rows had no checksums.
        old = b"MXQLOGIT" + b"0123456789abcdef" * 2 + struct.pack("<QQQ", 77, 272, 0) + bytes(77 * 272 * 4)
        self.refuses_bytes(old, ("version 1 of the file of logits", "version 3", "written anew"))
        self.refuses_bytes(self.whole[:8] + struct.pack("<Q", 2) + self.whole[16:], ("version 2 of the file of logits",))

    def test_without_the_file_it_is_written_anew(self):
        self.kept.unlink()
        self.mxq(*self.compare)
        self.assertEqual(self.kept.read_bytes(), self.whole)


if __name__ == "__main__":
    unittest.main()
