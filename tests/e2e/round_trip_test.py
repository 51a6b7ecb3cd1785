"""quantize and dequantize leave names, dtypes, shapes and everything that is no planned weight as they were."""
import json
import math
import random
import struct
import unittest

import support
from support import MxqTest, floats, matrix_names, read_folder, small_model, write_safetensors

SIDE = {  # name -> (dtype, shape, bytes an element)
    "position_ids": ("I64", [1, 8], 8), "a.i32": ("I32", [3], 4), "a.i16": ("I16", [3], 2), "a.i8": ("I8", [3], 1),
    "a.u8": ("U8", [5], 1), "a.u16": ("U16", [3], 2), "a.u32": ("U32", [3], 4), "a.u64": ("U64", [3], 8),
    "model.layers.0.self_attn.bias": ("BOOL", [1, 1, 3, 3], 1), "freqs_cis": ("C64", [2, 2], 8),
    "kv_scale": ("F8_E5M2", [4], 1), "a.e4m3": ("F8_E4M3", [7], 1), "a.e8m0": ("F8_E8M0", [1], 1),
    "a.f4": ("F4", [6], 0.5), "a.f6": ("F6_E2M3", [4], 0.75), "a.later": ("I256", [2], 32), "a.f64": ("F64", [3], 8),
    "a.scalar": ("I64", [], 8), "a.byte": ("F8_E4M3", [], 1), "a.none": ("U16", [0, 4], 2), "a.none_later": ("I256", [0], 32),
}


class RoundTrip(MxqTest):
    def side_tensors(self, seed):
        rng = random.Random(seed)
        side = {name: (dtype, shape, rng.randbytes(int(math.prod(shape) * size)))
                for name, (dtype, shape, size) in SIDE.items()}
        minus = -math.inf
        side |= {"a.scalar_float": ("BF16", [], support.bf16([1.5])), "mask": ("F16", [2, 2], support.f16([minus] * 4)),
                 "masked_bias": ("F32", [], support.f32([minus])), "a.mask": ("BF16", [3], support.bf16([minus] * 3)),
                 "a.empty": ("BF16", [0, 64], b""), "a.f64": ("F64", [3], struct.pack("<3d", 0.1, -1e300, 5e-324))}
        return side

    def build(self, name, dtypes, config=None, side=True):
        """A folder whose tensors have these dtypes by turns."""
        folder = self.folder / name
        tensors = small_model(folder, config=config, dtype="F32")
        for i, (tensor, (_, shape, data)) in enumerate(sorted(tensors.items())):
            dtype = dtypes[i % len(dtypes)]
            tensors[tensor] = (dtype, list(shape), support.ENCODE[dtype](floats(("F32", shape, data))))
        if side: tensors |= self.side_tensors(1)
        write_safetensors(folder / "model.safetensors", tensors)
        (folder / "notes.txt").write_bytes(b"\0any \xff bytes\r\n")
        return tensors

    def test_names_dtypes_shapes_and_side_files_come_back(self):
        planned = {name + ".weight" for name in matrix_names()}
        for number, dtypes in enumerate((["BF16"], ["F16"], ["F32"], ["BF16", "F32"], ["F16", "BF16", "F32"])):
            model, out, back = (self.folder / f"{number}-{what}" for what in ("model", "out", "back"))
            tensors = self.build(model.name, dtypes)
            self.mxq("quantize", model, "--uniform", "b8g32", "-o", out)
            self.mxq("dequantize", out, "-o", back)
            restored = read_folder(back)
            self.assertEqual(set(restored), set(tensors))
            for name, tensor in tensors.items():
                self.assertEqual(restored[name][:2], tensor[:2], name)
                if name not in planned:
                    self.assertEqual(restored[name], tensor, name)
                    self.assertEqual(read_folder(out)[name], tensor, name)
                else:
                    worst = max(abs(a - b) for a, b in zip(floats(tensor), floats(restored[name])))
                    self.assertLess(worst, 0.01, name)
            self.assertEqual(json.loads((back / "config.json").read_text()), json.loads((model / "config.json").read_text()))
            for file in ("tokenizer_config.json", "notes.txt"):
                self.assertEqual((back / file).read_bytes(), (model / file).read_bytes())
            # A second round keeps them, too.
            self.mxq("quantize", out, "--uniform", "b4g32", "-o", f"{out}-again")
            self.mxq("dequantize", f"{out}-again", "-o", f"{back}-again")
            self.assertEqual({n: t[:2] for n, t in read_folder(f"{back}-again").items()},
                             {n: (t[0], t[1]) for n, t in tensors.items()})

    def test_a_forced_dtype_is_for_weights_only(self):
        tensors = self.build("model", ["BF16"])
        del tensors["a.f64"]
        write_safetensors(self.folder / "model/model.safetensors", tensors)
        self.mxq("quantize", self.folder / "model", "--uniform", "b4g32", "-o", self.folder / "out")
        self.mxq("dequantize", self.folder / "out", "--dtype", "f16", "-o", self.folder / "back")
        for name, (dtype, shape, data) in read_folder(self.folder / "back").items():
            if tensors[name][0] in support.ENCODE:
                self.assertEqual(dtype, "F16", name)
                self.assertEqual([math.isinf(x) for x in floats((dtype, shape, data))],
                                 [math.isinf(x) for x in floats(tensors[name])], name)
            else:
                self.assertEqual((dtype, shape, data), tensors[name], name)
        self.assertEqual(json.loads((self.folder / "back/config.json").read_text())["torch_dtype"], "float16")

    def test_what_a_dtype_cannot_hold_is_named(self):
        tensors = self.build("model", ["BF16"], side=False)
        count = math.prod(tensors["model.norm.weight"][1])
        tensors["model.norm.weight"] = ("BF16", [count], support.bf16([1.0] * 5 + [131072.0] + [1.0] * (count - 6)))
        write_safetensors(self.folder / "model/model.safetensors", tensors)
        self.mxq("quantize", self.folder / "model", "--uniform", "b8g32", "-o", self.folder / "out")
        self.mxq("dequantize", self.folder / "out", "-o", self.folder / "back")
        self.assertEqual(read_folder(self.folder / "back")["model.norm.weight"], tensors["model.norm.weight"])
        self.refuses("dequantize", self.folder / "out", "--dtype", "f16", "-o", self.folder / "f16",
                     says=["'model.norm.weight' holds 131072", "bf16 or f32"])
        tensors["model.norm.weight"] = ("F32", [count], support.f32([1e-10] * 7 + [1.0] * (count - 7)))
        write_safetensors(self.folder / "model/model.safetensors", tensors)
        done = self.run_mxq("dequantize", self.folder / "model", "--dtype", "f16", "-o", self.folder / "small")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"'model.norm.weight': 7 of {count} values are too small for F16 and become 0", done.stderr)

    def test_a_checkpoint_that_does_not_say_its_dtype(self):
        self.build("model", ["BF16"], side=False)
        self.mxq("quantize", self.folder / "model", "--uniform", "b8g32", "-o", self.folder / "out")
        path = self.folder / "out/config.json"
        config = json.loads(path.read_text())
        self.assertEqual(config["quantization_config"].pop("dtype"), "BF16")
        for said, expected in (("float32", "F32"), ("bfloat16", "BF16"), (None, "F16")):
            config.pop("torch_dtype", None)
            if said: config["torch_dtype"] = said
            path.write_text(json.dumps(config))
            self.mxq("dequantize", self.folder / "out", "-o", self.folder / expected)
            self.assertEqual(read_folder(self.folder / expected)[matrix_names()[0] + ".weight"][0], expected)

    def test_quantized_weights_are_refused_by_name(self):
        for said, text in (({}, "does not say"), ({"quantization_config": {"quant_method": "fp8"}}, "(quantization_config: fp8)"),
                           ({"compression_config": {"quant_method": "compressed-tensors"}}, "(compression_config: compressed-tensors)"),
                           ({"quantization": {"group_size": 64, "bits": 4}}, "(quantization: bits 4)")):
            folder = self.folder / f"model-{len(text)}"
            tensors = small_model(folder, config=said)
            name = "model.layers.1.mlp.up_proj.weight"
            _, shape, data = tensors[name]
            write_safetensors(folder / "model.safetensors", tensors | {name: ("F8_E4M3", shape, data[::2])})
            for command in (["inspect", folder], ["quantize", folder, "--bits", "4", "-o", self.folder / "out"]):
                self.refuses(*command, says=["quantized already", name, "F8_E4M3", text])
            write_safetensors(folder / "model.safetensors", tensors)  # a setting left over; the weights are plain
            self.mxq("inspect", folder)

    def test_weights_beyond_fp16_metadata_are_held_or_named(self):
        tensors = small_model(self.folder / "model")
        name = "model.layers.0.mlp.up_proj"
        dtype, shape, data = tensors[name + ".weight"]
        for scale in (1e-9, 1e20):
            values = [x * scale for x in floats(("BF16", shape, data))]
            write_safetensors(self.folder / "model/model.safetensors",
                              tensors | {name + ".weight": ("BF16", shape, support.bf16(values))})
            for command in (["quantize", self.folder / "model", "-o", self.folder / "out"], ["plan", self.folder / "model"]):
                budget = ["--uniform", "b4g64"] if command[0] == "quantize" else ["--bits", "4", "--objective", "f"]
                self.refuses(*command, *budget, says=[f"'{name}'", "metadata q8", "metadata f32"])
            out = self.folder / f"out-{scale}"
            self.mxq("quantize", self.folder / "model", "--uniform", "b4g64", "--fit", "mse", "--metadata", "f32", "-o", out)
            self.mxq("dequantize", out, "-o", f"{out}-back")
            back = floats(read_folder(f"{out}-back")[name + ".weight"])
            error = math.sqrt(sum((a / scale - b / scale) ** 2 for a, b in zip(values, back)))
            self.assertLess(error, 0.15 * math.sqrt(sum((a / scale) ** 2 for a in values)))

    def test_what_an_index_says_wrongly(self):
        tensors = small_model(self.folder / "model", shards=2)
        path = self.folder / "model/model.safetensors.index.json"
        index = json.loads(path.read_text())

        def check(change):
            changed = json.loads(json.dumps(index))
            change(changed["weight_map"])
            path.write_text(json.dumps(changed))
            done = self.run_mxq("dequantize", self.folder / "model", "--overwrite", "-o", self.folder / "back")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(set(read_folder(self.folder / "back")), set(tensors))
            return done.stderr

        first, second = sorted(set(index["weight_map"].values()))
        name = "model.layers.0.self_attn.q_proj.weight"
        self.assertIn("rotary_emb.inv_freq", check(lambda m: m.update({"model.layers.0.self_attn.rotary_emb.inv_freq": first})))
        self.assertIn("layers.61.", check(lambda m: m.update({"model.layers.61.mlp.up_proj.weight": "model-9.safetensors"})))
        self.assertIn(name, check(lambda m: m.pop(name)))
        self.assertIn(name, check(lambda m: m.update({name: second if m[name] == first else first})))
        for change, says in (({"model.layers.1.mlp.extra_proj.weight": first}, "lacks tensor 'model.layers.1.mlp.extra_proj.weight'"),
                             ({"model.layers.1.input_layernorm.weight": "model-9.safetensors"}, "shard 'model-9.safetensors'"),
                             ({name: "../model.safetensors"}, "'../model.safetensors'")):
            path.write_text(json.dumps({"weight_map": {k: v for k, v in index["weight_map"].items() if k != "x"} | change}))
            if "model-9.safetensors" in says: continue  # the other shard holds it: read there
            self.refuses("inspect", self.folder / "model", says=says)
        # A model.safetensors beside them is what transformers reads.
        path.write_text(json.dumps(index))
        other = small_model(self.folder / "other", seed=2)
        write_safetensors(self.folder / "model/model.safetensors", other)
        done = self.run_mxq("dequantize", self.folder / "model", "--overwrite", "-o", self.folder / "back")
        self.assertIn("index and its shards are not read", done.stderr)
        self.assertEqual(read_folder(self.folder / "back"), {n: (d, list(s), b) for n, (d, s, b) in other.items()})


if __name__ == "__main__":
    unittest.main()
