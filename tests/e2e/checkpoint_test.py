"""The mxq checkpoint against docs/reference/checkpoint.md: decoded here, byte by byte, by an independent reader."""
import array
import functools
import json
import math
import random
import statistics
import struct
import unittest

import support
from support import (ALL_SCHEMES, MxqTest, floats, matrix_names, read_folder, read_safetensors, small_model,
                     write_safetensors)


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def decode(tensors, name, entry, axis, metadata):
    """The matrix's floats by the definition in docs/reference/checkpoint.md, in float32 arithmetic."""
    rows, cols = entry["rows"], entry["cols"]
    family = entry["scheme"].rstrip("0123456789").rstrip("g").rstrip("0123456789")
    decoders = {"nf": decode_blockwise, "fp": decode_blockwise, "gauss": decode_codebook, "km": decode_codebook}
    out = decoders.get(family, decode_affine)(tensors, name, entry, axis, metadata)
    if entry.get("rotated"):
        out = [w for r in range(rows) for w in rotated_back(out[r * cols:(r + 1) * cols])]
    columns = floats(tensors[name + ".column_scales"]) if entry.get("column_scales") else None
    return [f32(w * columns[i % cols]) for i, w in enumerate(out)] if columns else out


NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
       0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]
FP4 = [sign * m / 12 for sign in (1, -1) for m in (0, 0.0625, 8, 12, 4, 6, 2, 3)]


def dynamic_map():
    """bitsandbytes's: of e = 0 .. 6, 2^e middles of equal parts of [0.1, 1] times 10^(e - 6), both signs, 0 and 1."""
    values = [0.0, 1.0]
    for e in range(7):
        middles = [0.1 + 0.9 * (j + 0.5) / 2**e for j in range(2**e)]
        values += [sign * 10.0**(e - 6) * m for sign in (1, -1) for m in middles]
    return sorted(values)


def decode_blockwise(tensors, name, entry, axis, metadata):
    value, block = NF4 if entry["scheme"].startswith("nf4") else FP4, int(entry["scheme"].split("g")[1])
    count = entry["rows"] * entry["cols"]
    absmax, codes = tensors[name + ".absmax"], tensors[name + ".codes"][2]
    if metadata == "q8":
        nested, offset, steps = floats(tensors[name + ".nested_absmax"]), floats(tensors[name + ".offset"])[0], dynamic_map()
        scales = [steps[code] * nested[j // 256] + offset for j, code in enumerate(absmax[2])]
    else:
        scales = floats(absmax)
    assert len(scales) == -(-count // block)
    return [f32(value[codes[i // 2] >> (0 if i % 2 else 4) & 15] * scales[i // block]) for i in range(count)]


@functools.cache
def lloyd_max(bits):
    """The levels of least squared error for a normal variable: each the mean of what is nearest to it."""
    normal, half = statistics.NormalDist(), 2**(bits - 1)
    levels = [3 * (i + 0.5) / half for i in range(half)]
    for _ in range(3000):
        edges = [0] + [(a + b) / 2 for a, b in zip(levels, levels[1:])] + [math.inf]
        density = [math.exp(-x * x / 2) / math.sqrt(2 * math.pi) for x in edges]
        below = [normal.cdf(x) if x < math.inf else 1 for x in edges]
        levels = [(density[i] - density[i + 1]) / (below[i + 1] - below[i]) for i in range(half)]
    return [-x for x in reversed(levels)] + levels


def decode_codebook(tensors, name, entry, axis, metadata):
    head, group = entry["scheme"].rsplit("g", 1)
    bits, group, rows, cols = int(head[-1]), int(group), entry["rows"], entry["cols"]
    if head.startswith("km"): levels = floats(tensors[name + ".levels"])
    else: levels = lloyd_max(bits)
    scales, codes = tensors[name + ".scales"], tensors[name + ".codes"][2]
    if metadata == "q8":
        steps = floats(tensors[name + ".scale_steps"])
        scales = [steps[j // 128] * u for j, u in enumerate(scales[2])]
    else:
        scales = floats(scales)
    per_row, row_bytes, out = -(-cols // group), -(-cols * bits // 8), []
    assert len(scales) == rows * per_row
    for r in range(rows):
        stream = int.from_bytes(codes[r * row_bytes:(r + 1) * row_bytes], "little")
        out += [f32(levels[stream >> bits * c & 2**bits - 1] * scales[r * per_row + c // group]) for c in range(cols)]
    return out


def decode_affine(tensors, name, entry, axis, metadata):
    bits, group = map(int, entry["scheme"][1:].split("g"))
    rows, cols = entry["rows"], entry["cols"]
    groups = rows * -(-cols // group) if axis == 1 else -(-rows * cols // group)
    codes = tensors[name + ".codes"][2]
    if metadata == "q8":
        scale_steps, zero_steps = floats(tensors[name + ".scale_steps"]), floats(tensors[name + ".zero_steps"])
        scales = [f32(scale_steps[j // 128] * u) for j, u in enumerate(tensors[name + ".scales"][2])]
        middle = (2**bits - 1) / 2
        zeros = [f32(middle - f32(zero_steps[j // 128] * i))
                 for j, i in enumerate(array.array("b", tensors[name + ".zeros"][2]))]
    else:
        scales, zeros = floats(tensors[name + ".scales"]), floats(tensors[name + ".zeros"])
    assert len(scales) == len(zeros) == groups
    out = []
    row_bytes = -(-cols * bits // 8)
    for r in range(rows):
        for c in range(cols):
            if axis == 1:
                position, j = 8 * r * row_bytes + bits * c, r * -(-cols // group) + c // group
            else:
                e = r * cols + c
                position, j = bits * e, e % groups
            word = codes[position // 8] | (codes[position // 8 + 1] << 8 if position // 8 + 1 < len(codes) else 0)
            q = (word >> position % 8) & (2**bits - 1)
            w = f32(f32(q - zeros[j]) * scales[j])
            out.append(w)
    return out


def rotated_back(row):
    """The signs and the Walsh-Hadamard transform of docs/reference/checkpoint.md, by definition."""
    n, mask, state, signs = len(row), 2**64 - 1, len(row), []
    for _ in range(n):
        state = z = (state + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        signs.append(-1 if (z ^ (z >> 31)) & 1 else 1)
    block = n & -n
    parity = [[-1 if bin(i & j).count("1") % 2 else 1 for j in range(block)] for i in range(block)]
    return [signs[k] / block**0.5 * sum(h * x for h, x in zip(parity[k % block], row[k - k % block:k - k % block + block]))
            for k in range(n)]


def stored_bytes(tensors, name):
    return sum(len(t[2]) for n, t in tensors.items() if n.startswith(name + ".") and n != name + ".weight")


class Checkpoint(MxqTest):
    def check(self, model, out, *options):
        """Quantizes from the weights alone where the options do not say how, so that the plan's errors are those of the
        matrices; decodes every matrix here, compares with the plan and with `mxq dequantize`."""
        published = any(str(option).startswith(("nf4", "fp4")) for option in options)  # by their own rules
        if "--fit" not in options and not published: options += ("--fit", "mse")
        if "--uniform" not in options and "--objective" not in options: options += ("--objective", "rel")
        result = self.mxq_json("quantize", model, "-o", out, *options)
        tensors = read_folder(out)
        config = json.loads((out / "config.json").read_text())["quantization_config"]
        self.assertEqual(config["quant_method"], "mxq")
        self.mxq("dequantize", out, "-o", f"{out}-f32", "--dtype", "f32")
        plain = read_folder(f"{out}-f32")
        original = read_folder(model)
        self.assertEqual(set(plain), set(original))
        total = 0
        for name, entry in config["matrices"].items():
            planned = result["matrices"][name]
            self.assertEqual(planned["scheme"], entry["scheme"])
            self.assertEqual(stored_bytes(tensors, name), planned["bytes"], name)
            total += planned["bytes"]
            ours = decode(tensors, name, entry, config["axis"], config["metadata"])
            theirs = floats(plain[name + ".weight"])
            worst = max((abs(a - b) for a, b in zip(ours, theirs)), default=0)
            # One fused multiply-add may round once where this reader rounds twice; sums of a rotation round throughout.
            slack = 3e-6 if entry.get("rotated") else 1e-6
            self.assertLessEqual(worst, slack * max(map(abs, ours), default=0) + 1e-30, name)
            weights = floats(original[name + ".weight"])
            fnorm = sum((w - q) ** 2 for w, q in zip(weights, theirs)) ** 0.5
            self.assertAlmostEqual(fnorm, planned["fnorm"], delta=1e-5 * max(fnorm, 1e-9), msg=name)
        self.assertEqual(total, result["bytes"])
        self.assertLessEqual(result["bytes"], result["budget_bytes"])
        for name, size in result["files"].items():
            self.assertEqual((out / name).stat().st_size, size)
        for name in set(original) - {n + ".weight" for n in config["matrices"]}:
            self.assertEqual(tensors[name], original[name], "unquantized tensors are copied")
        return result

    def test_budget(self):
        small_model(self.folder / "model")
        result = self.check(self.folder / "model", self.folder / "out", "--bits", "3.25")
        self.assertEqual(sorted(result["matrices"]), sorted(matrix_names()))
        self.assertEqual(json.loads((self.folder / "out/mxq-plan.json").read_text())["matrices"], result["matrices"])
        self.assertTrue((self.folder / "out/tokenizer_config.json").exists())

    def test_every_scheme_axis_and_metadata(self):
        small_model(self.folder / "model", config={"num_hidden_layers": 1, "hidden_size": 48, "intermediate_size": 100})
        for scheme in ALL_SCHEMES:
            self.check(self.folder / "model", self.folder / scheme, "--uniform", scheme)
        for axis in (0, 1):
            for metadata in ("f16", "f32", "q8"):
                for fit in ("rtn", "hqq", "mse"):
                    self.check(self.folder / "model", self.folder / f"{axis}{metadata}{fit}", "--uniform", "b3g32",
                               "--axis", axis, "--metadata", metadata, "--fit", fit)

    def test_column_scales(self):
        odd = {"num_hidden_layers": 1, "hidden_size": 48, "intermediate_size": 100}
        small_model(self.folder / "model", config=odd)
        columns = ("--normalize", "columns")
        for axis in (0, 1):
            for metadata, fit in (("f16", "hqq"), ("f32", "rtn"), ("q8", "mse")):
                out = self.folder / f"{axis}{metadata}"
                plain = self.mxq_json("plan", self.folder / "model", "--bits", "b3g32", "--axis", axis, "--metadata",
                                      metadata, "--fit", fit, "--min-bits", 3, "--schemes", "b3g32", "--normalize", "none")
                result = self.check(self.folder / "model", out, "--uniform", "b3g32", "--axis", axis, "--metadata",
                                    metadata, "--fit", fit, *columns)
                self.assertEqual((plain["quantize"]["normalize"], result["quantize"]["normalize"]), ("none", "columns"))
                config = json.loads((out / "config.json").read_text())["quantization_config"]
                tensors = read_folder(out)
                for name, entry in config["matrices"].items():
                    self.assertIs(entry["column_scales"], True)
                    t = floats(tensors[name + ".column_scales"])
                    self.assertEqual(len(t), entry["cols"])
                    self.assertAlmostEqual(sum(map(math.log, t)) / len(t), 0, delta=1e-3)
                    # The matrix takes 2 bytes a column more, and its errors are others.
                    self.assertEqual(result["matrices"][name]["bytes"], plain["matrices"][name]["bytes"] + 2 * len(t))
                    self.assertNotEqual(result["matrices"][name]["fnorm"], plain["matrices"][name]["fnorm"])

    def test_rotation(self):
        small_model(self.folder / "model", config={"num_hidden_layers": 1, "hidden_size": 48, "intermediate_size": 100})
        for axis, metadata, fit in ((1, "q8", "mse"), (0, "f16", "hqq"), (1, "f32", "rtn")):
            out = self.folder / f"{axis}{metadata}"
            result = self.check(self.folder / "model", out, "--bits", "4.5", "--axis", axis, "--metadata", metadata, "--fit",
                                fit, "--normalize", "rotation")
            self.assertEqual(result["quantize"]["normalize"], "rotation")
            config = json.loads((out / "config.json").read_text())["quantization_config"]
            self.assertEqual(config["version"], 2)
            for entry in config["matrices"].values():
                self.assertIs(entry["rotated"], True)
        # What a checkpoint keeps of another one stays rotated.
        self.mxq("quantize", self.folder / "1q8", "--uniform", "b8g32", "-o", self.folder / "again", "--skip", "mlp")
        kept = json.loads((self.folder / "again/config.json").read_text())["quantization_config"]["matrices"]
        self.assertIs(kept["model.layers.0.mlp.up_proj"]["rotated"], True)
        before, after = read_folder(self.folder / "1q8"), read_folder(self.folder / "again")
        self.assertEqual(before["model.layers.0.mlp.up_proj.codes"], after["model.layers.0.mlp.up_proj.codes"])

    def test_sinq(self):
        small_model(self.folder / "model", config={"num_hidden_layers": 1, "hidden_size": 48, "intermediate_size": 100})
        for scheme, metadata in (("b4g64", "q8"), ("b3g32", "f32")):
            result = self.check(self.folder / "model", self.folder / scheme, "--uniform", scheme, "--fit", "sinq", "--metadata",
                                metadata)
            self.assertEqual((result["quantize"]["fit"], result["quantize"]["normalize"]), ("rtn", "sinq"))

    def test_families_as_published(self):
        model = self.folder / "model"
        small_model(model, config={"num_hidden_layers": 1, "hidden_size": 49, "num_attention_heads": 7, "head_dim": 7,
                                   "num_key_value_heads": 7, "intermediate_size": 101})
        for scheme in ("nf4g32", "nf4g64", "nf4g256", "fp4g64", "gauss2g32", "gauss3g64", "km4g128", "km2g64"):
            fit = () if scheme[0] in "nf" else ("--fit", "rtn")  # others are rotated by default
            result = self.check(model, self.folder / scheme, "--uniform", scheme, *fit)
            self.assertEqual(result["quantize"], {"fit": "rtn", "axis": 1, "metadata": "q8", "normalize": "none"})
            self.check(model, self.folder / f"{scheme}-plain", "--uniform", scheme, *fit, "--metadata", "f32")
        for scheme in ("nf4g64", "gauss4g64", "km3g32"):
            self.check(model, self.folder / f"{scheme}-rotated", "--uniform", scheme, "--fit", "mse")

    def test_families_in_one_plan(self):
        small_model(self.folder / "model")
        result = self.check(self.folder / "model", self.folder / "out", "--bits", "4.2", "--schemes", "affine,nf", "--fit",
                            "mse", "--objective", "f2", "--pin", "v_proj=nf4g64")
        self.assertIn("nf4g64", {matrix["scheme"] for matrix in result["matrices"].values()})
        self.refuses("quantize", self.folder / "model", "-o", self.folder / "x", "--bits", 4, "--schemes", "affine,magic",
                     status=2, says=("'magic'", "b4g64", "nf4g64"))

    def test_weights_on_a_grid_are_left_there(self):
        small_model(self.folder / "model")
        first = self.mxq_json("quantize", self.folder / "model", "--uniform", "b4g32", "--normalize", "none", "-o",
                              self.folder / "once")
        self.mxq("dequantize", self.folder / "once", "--dtype", "f32", "-o", self.folder / "gridded")
        for scheme, rotated in (("b4g32", False), ("b3g32", True)):
            result = self.check(self.folder / "gridded", self.folder / scheme, "--uniform", scheme)
            self.assertEqual(result["quantize"]["normalize"], "rotation")
            config = json.loads((self.folder / scheme / "config.json").read_text())["quantization_config"]
            for name, entry in config["matrices"].items():
                self.assertIs(entry["column_scales"], True)
                self.assertIs(entry.get("rotated", False), rotated, name)
            for name, matrix in result["matrices"].items():
                lost = matrix["fnorm"] / first["matrices"][name]["fnorm"]
                if rotated: self.assertGreater(lost, 1, name)
                else: self.assertLess(lost, 0.4, name)
        tensors = read_folder(self.folder / "b4g32")
        for name in matrix_names(): self.assertEqual(set(floats(tensors[name + ".column_scales"])), {1.0})

    def test_column_scales_by_budget_plan_and_resumed(self):
        small_model(self.folder / "model")
        weights = ("--fit", "mse")
        columns = (*weights, "--normalize", "columns")
        plain_plan = ("plan", self.folder / "model", "--bits", "4", "--objective", "rel", *weights, "--normalize", "none")
        plain = self.mxq_json(*plain_plan)  # fills the cache
        result = self.check(self.folder / "model", self.folder / "a", "--bits", "4", *columns)
        self.assertNotEqual(result["objective"]["value"], plain["objective"]["value"])
        self.mxq("plan", self.folder / "model", "--bits", "4", "--objective", "rel", *columns, "-o", self.folder / "plan.json")
        self.assertEqual(self.mxq_json("measure", self.folder / "model", *columns)["from_cache"], len(matrix_names()))
        # The plan says how; the option need not be said again.
        self.mxq("quantize", self.folder / "model", "--plan", self.folder / "plan.json", "-o", self.folder / "b")
        for file in (self.folder / "a").iterdir():
            self.assertEqual(file.read_bytes(), (self.folder / "b" / file.name).read_bytes(), file.name)
        # A checkpoint with column scales is a model: quantized in part again, the rest keeps its values.
        self.mxq("quantize", self.folder / "a", "--uniform", "b8g32", "-o", self.folder / "twice", *columns)
        again = self.mxq_json(*plain_plan)
        self.assertEqual(again["matrices"], plain["matrices"])
        plan = json.loads((self.folder / "plan.json").read_text())
        plan["quantize"]["normalize"] = "rows"
        (self.folder / "plan.json").write_text(json.dumps(plan))
        self.refuses("quantize", self.folder / "model", "--plan", self.folder / "plan.json", "-o", self.folder / "c",
                     status=1, says=("plan.json", "'quantize.normalize' is 'rows'", "none, columns"))
        self.refuses("measure", self.folder / "model", "--normalize", "rows", status=2, says=("'rows'", "none, columns"))

    def test_size_budget_counts_column_scales(self):
        small_model(self.folder / "model")
        result = self.check(self.folder / "model", self.folder / "out", "--size", "70000", "--normalize", "columns")
        weights = sum(s for n, s in result["files"].items() if n.endswith(".safetensors"))
        self.assertLessEqual(weights, 70000)
        self.assertGreater(weights, 0.9 * 70000)

    def test_dtypes_and_shards(self):
        for dtype, size in (("F32", "60000"), ("F16", "30KB")):
            small_model(self.folder / dtype, dtype=dtype, shards=3)
            self.check(self.folder / dtype, self.folder / f"{dtype}-out", "--bits", "4.2", "--shard-bytes", size)
            for file in (self.folder / f"{dtype}-out").glob("model-*.safetensors"):
                with open(file, "rb") as opened: (header,) = struct.unpack("<Q", opened.read(8))
                self.assertLessEqual(file.stat().st_size - header - 8, 60000 if dtype == "F32" else 30000)
        self.assertTrue((self.folder / "F16-out/model.safetensors.index.json").exists())
        index = json.loads((self.folder / "F16-out/model.safetensors.index.json").read_text())
        for tensor, file in index["weight_map"].items():
            self.assertIn(tensor, read_safetensors(self.folder / "F16-out" / file))

    def test_two_bytes_alignment(self):
        small_model(self.folder / "model", config={"hidden_size": 60, "intermediate_size": 33})
        self.mxq("quantize", self.folder / "model", "-o", self.folder / "out", "--bits", "4")
        data = (self.folder / "out/model.safetensors").read_bytes()
        (length,) = struct.unpack_from("<Q", data)
        self.assertEqual(length % 8, 0)
        for name, tensor in json.loads(data[8:8 + length]).items():
            if name != "__metadata__" and tensor["dtype"] in ("F16", "BF16"):
                self.assertEqual(tensor["data_offsets"][0] % 2, 0, name)

    def test_skip_leaves_matrices_as_they_are(self):
        original = small_model(self.folder / "model")
        self.check(self.folder / "model", self.folder / "out", "--bits", "3.25", "--skip", "layers.0.")
        tensors = read_folder(self.folder / "out")
        self.assertEqual(tensors["model.layers.0.mlp.up_proj.weight"][2], original["model.layers.0.mlp.up_proj.weight"][2])

    def test_embeddings_are_planned_where_the_budget_counts_all_bytes(self):
        model = self.folder / "model"
        small_model(model)
        tied = self.folder / "tied"
        small_model(tied, config={"tie_word_embeddings": True})  # its lm_head is a second copy that nobody reads

        def planned(*options, of=model):
            return set(self.mxq_json("quantize", of, "-o", self.folder / "out", "--overwrite", *options)["matrices"])

        layers, embedding, head = set(matrix_names()), {"model.embed_tokens"}, {"lm_head"}
        self.assertEqual(planned("--bits", "3.25"), layers)
        self.assertEqual(planned("--uniform", "b4g64"), layers)
        self.assertEqual(planned("--bits", "3.25", "--embeddings"), layers | embedding | head)
        self.assertEqual(planned("--uniform", "b4g64", "--embeddings"), layers | embedding | head)
        self.assertEqual(planned("--size", "60000"), layers | embedding | head)
        self.assertEqual(planned("--size", "70000", "--no-embeddings"), layers)
        self.assertEqual(planned("--size", "70000", "--skip", "lm_head"), layers | embedding)
        self.assertEqual(planned("--size", "60000", of=tied), layers | embedding)
        # Groups of axis 0 lie across all rows: looking one up takes reading them all.
        self.assertEqual(planned("--size", "70000", "--axis", "0"), layers)

    def test_size_budget_holds_for_the_files(self):
        small_model(self.folder / "model")
        result = self.check(self.folder / "model", self.folder / "out", "--size", "60000", "--normalize", "none")
        weights = sum(s for n, s in result["files"].items() if n.endswith(".safetensors"))
        self.assertLessEqual(weights, 60000)
        self.assertGreater(weights, 0.9 * 60000)

    def test_plan_file_and_direct_quantize_agree(self):
        small_model(self.folder / "model")
        self.mxq("plan", self.folder / "model", "--bits", "3.5", "-o", self.folder / "plan.json")
        self.mxq("quantize", self.folder / "model", "--plan", self.folder / "plan.json", "-o", self.folder / "a")
        self.mxq("quantize", self.folder / "model", "--bits", "3.5", "-o", self.folder / "b")
        for file in (self.folder / "a").iterdir():
            self.assertEqual(file.read_bytes(), (self.folder / "b" / file.name).read_bytes(), file.name)

    def test_a_file_alone_with_odd_shapes(self):
        rng = random.Random(2)
        shapes = {"self_attn.q_proj": (1, 1), "self_attn.k_proj": (1, 7), "self_attn.v_proj": (5, 1),
                  "self_attn.o_proj": (0, 4), "mlp.up_proj": (3, 130)}
        path = self.folder / "alone.safetensors"
        write_safetensors(path, {f"model.layers.0.{module}.weight":
                                 ("F32", shape, support.f32([rng.gauss(0, 1) for _ in range(shape[0] * shape[1])]))
                                 for module, shape in shapes.items()})
        self.mxq("quantize", path, "--bits", "9", "-o", self.folder / "out")
        config = json.loads((self.folder / "out/config.json").read_text())["quantization_config"]
        self.assertNotIn("model.layers.0.self_attn.o_proj", config["matrices"], "an empty matrix stays as it is")
        self.assertEqual(len(config["matrices"]), 4)
        self.mxq("dequantize", self.folder / "out", "-o", self.folder / "plain", "--dtype", "f32")
        self.assertEqual(sorted(p.name for p in (self.folder / "plain").iterdir()), [".mxq-files", "model.safetensors"])
        packed, plain = read_folder(self.folder / "out"), read_folder(self.folder / "plain")
        for name, entry in config["matrices"].items():
            ours = decode(packed, name, entry, 1, "q8")
            for a, b in zip(ours, floats(plain[name + ".weight"])):
                self.assertAlmostEqual(a, b, delta=1e-5)

    def test_a_checkpoint_is_a_model(self):
        small_model(self.folder / "model")
        self.mxq("quantize", self.folder / "model", "--bits", "4", "-o", self.folder / "out")
        report = self.mxq_json("inspect", self.folder / "out")
        self.assertEqual([m["name"] for m in report["matrices"]], matrix_names())
        self.assertRegex(report["matrices"][0]["dtype"], r"^(b|gauss)\dg\d+$")
        self.mxq("quantize", self.folder / "out", "--uniform", "b8g32", "-o", self.folder / "twice")


if __name__ == "__main__":
    unittest.main()
