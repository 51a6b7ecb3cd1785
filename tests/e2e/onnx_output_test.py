"""Plans made for onnxruntime: a folder of the bytes that the plan promises, with a graph of its operators, which is read back as the
model. That onnxruntime computes it is for tests/integration/onnx_peer.py."""
import json
import math
import unittest

from onnx_files import dequantized, read_initializers, read_nodes
from folder_formats import FAST, FolderFormatTest, header_bytes
from support import (SMOLLM2, MxqTest, floats, listing, needs_smollm2, read_folder, small_model, small_text_model,
                     write_safetensors)


class OnnxOutput(FolderFormatTest):
    FORMAT = "onnx"

    def test_bytes_are_those_of_the_plan(self):
        small_model(self.model)
        plan = self.quantize("--bits", 5, *FAST)
        self.assertEqual(plan["format"], "onnx")
        stored = read_initializers(self.out)
        self.assertEqual(len(plan["matrices"]), 16)  # embedding and output matrix too
        planned = sum(m["bytes"] for m in plan["matrices"].values())
        self.assertEqual(planned, plan["bytes"])
        for name, matrix in plan["matrices"].items():
            self.assertEqual(sum(len(stored[f"{name}.weight_{part}"][2]) for part in ("codes", "scales")), matrix["bytes"], name)
        data = self.out / "model.onnx.data"
        norms = sum(len(t[2]) for name, t in stored.items() if "norm" in name)
        self.assertEqual(data.stat().st_size, header_bytes(data) + planned + norms)
        for name in ("model.onnx", "model.onnx.data"):
            self.assertEqual(plan["files"][name], (self.out / name).stat().st_size)

    def test_a_size_is_that_of_graph_and_weights(self):
        small_model(self.model)
        size = 70_000
        plan = self.quantize("--size", size, *FAST)
        self.assertIn("lm_head", plan["matrices"])
        both = sum((self.out / name).stat().st_size for name in ("model.onnx", "model.onnx.data"))
        self.assertLessEqual(both, size)
        self.assertGreater(both, 0.85 * size)

    def test_nodes_say_what_the_plan_says(self):
        small_model(self.model)
        plan = self.quantize("--bits", 5.2, *FAST, "--schemes", "b2g32,b4g16,b4g32,b8g32")
        nodes, stored = read_nodes(self.out), read_initializers(self.out)
        read = {inputs[1]: attributes for op, inputs, attributes in nodes.values() if op == "MatMulNBits"}
        self.assertGreater(len({m["scheme"] for m in plan["matrices"].values()}), 1)
        for name, matrix in plan["matrices"].items():
            bits, group = map(int, matrix["scheme"][1:].split("g"))
            self.assertEqual(stored[f"{name}.weight_scales"][0], "F16")
            if name == "model.embed_tokens":
                ((inputs, attributes),) = ((i, a) for op, i, a in nodes.values() if op == "GatherBlockQuantized")
                self.assertEqual(inputs[:2], [f"{name}.weight_codes", "input_ids"])
            else:
                attributes = read[f"{name}.weight_codes"]
            self.assertEqual((attributes["bits"], attributes["block_size"]), (bits, group), name)
        self.assertEqual(sum(op == "GroupQueryAttention" for op, _, _ in nodes.values()), 2)
        genai = json.loads((self.out / "genai_config.json").read_text())
        self.assertEqual(genai["model"]["decoder"]["num_hidden_layers"], 2)

    def test_comes_back_as_the_numbers_of_the_file(self):
        small_model(self.model)
        plan = self.quantize("--bits", 5, *FAST, "--skip", "down_proj", "--schemes", "b2g32,b4g16,b8g64")
        report = self.mxq_json("inspect", self.out)
        schemes = {m["dtype"] for m in report["matrices"]}
        self.assertLessEqual(schemes, {"b2g32", "b4g16", "b8g64", "F16"})
        self.mxq("dequantize", self.out, "-o", self.folder / "back", "--dtype", "f32")
        back, first = read_folder(self.folder / "back"), read_folder(self.model)
        self.assertEqual(set(back), set(first))
        nodes, stored = read_nodes(self.out), read_initializers(self.out)
        for name in plan["matrices"]:
            if name != "model.embed_tokens":
                self.assertEqual(list(floats(back[f"{name}.weight"])), dequantized(stored, nodes, f"{name}.weight"), name)
        self.assertEqual(list(floats(back["model.layers.0.mlp.down_proj.weight"])),
                         list(floats(stored["model.layers.0.mlp.down_proj.weight"])))
        self.assertFalse((self.folder / "back/genai_config.json").exists())
        again = self.mxq_json("quantize", self.out, "--format", "onnx", "--uniform", "b4g32", "--fit", "mse", "-o", self.folder / "again")
        self.assertEqual(again["format"], "onnx")

    def test_a_tied_embedding_is_there_once(self):
        tensors = small_model(self.model, config={"tie_word_embeddings": True})
        del tensors["lm_head.weight"]
        write_safetensors(self.model / "model.safetensors", tensors, {"format": "pt"})
        self.quantize("--uniform", "b4g32", "--fit", "mse")
        nodes = read_nodes(self.out)
        codes = [inputs for op, inputs, _ in nodes.values() if "model.embed_tokens.weight_codes" in inputs]
        self.assertEqual(len(codes), 2)  # looked up, and multiplied with
        self.mxq("inspect", self.out)

    def test_a_plan_file_is_carried_out_in_its_format(self):
        small_model(self.model)
        plan = self.folder / "plan.json"
        self.mxq("plan", self.model, "--format", "onnx", "--bits", 5, *FAST, "-o", plan)
        self.assertEqual(json.loads(plan.read_text())["quantize"]["metadata"], "f16-bias")
        done = self.mxq_json("quantize", self.model, "--plan", plan, "-o", self.out)
        self.assertEqual(done["format"], "onnx")

    def test_trials_are_made_in_the_format(self):
        small_text_model(self.model)
        plan = self.quantize("--max-loss", "2%", "--calibration-tokens", 512, "--sample-tokens", 128)
        kept = next(t for t in plan["trials"] if t["bits_per_parameter"] == plan["bits_per_parameter"])
        self.assertLessEqual(kept["loss"], math.log(1.02))
        found = self.mxq_json("eval", self.out, "--against", self.model, "--self", "--compute", "auto")["kl"]["mean"]
        self.assertLess(found, math.log(1.1))  # of another text
        self.assertEqual([p for p in listing(self.folder) if "trial" in p], [])

    def test_what_is_there_stays(self):
        small_model(self.model)
        quantize = ("quantize", self.model, "--format", "onnx", "--uniform", "b4g32", "--fit", "mse", "-o", self.out)
        self.mxq(*quantize)
        first = (self.out / "model.onnx").read_bytes(), (self.out / "model.onnx.data").read_bytes()
        self.refuses(*quantize, status=2, says="out")
        self.mxq(*quantize, "--overwrite")
        self.assertEqual(((self.out / "model.onnx").read_bytes(), (self.out / "model.onnx.data").read_bytes()), first)
        (self.out / "model.onnx").write_bytes(first[0] + b"\0")
        self.refuses(*quantize, "--overwrite", status=2, says="model.onnx")

    def test_what_the_format_has_no_place_for_is_refused_by_name(self):
        small_model(self.model)
        refuses = self.refuses_options
        refuses("--bits", 5, *FAST, "--normalize", "rotation", says=("--normalize", "rotation for the format onnx"))
        refuses("--bits", 5, *FAST, "--schemes", "b3g64", says=("--schemes", "b3g64 for the format onnx", "b4 or b8"))
        refuses("--bits", 5, *FAST, "--metadata", "bf16-bias", says=("--metadata", "bf16-bias for the format onnx", "f16-bias"))
        refuses("--bits", 5, *FAST, "--axis", 0, says="0 for the format onnx")
        refuses("--bits", 5, "--fit", "awq", says=("--fit", "awq for the format onnx"))
        refuses("--uniform", "b4g64", "--fit", "mse", status=1, says=("down_proj", "--skip"))
        refuses("--size", "1KiB", *FAST, status=1, says=("--size", "at least"))

    def test_models_without_a_graph_are_refused_by_name(self):
        small_model(self.model, config={"model_type": "gpt_neox", "rope_scaling": None})
        self.refuses("quantize", self.model, "--format", "onnx", "--bits", 5, *FAST, "-o", self.out, says=("write onnx", "gpt_neox", "llama"))

    def test_graphs_of_others_and_broken_ones_are_refused_by_name(self):
        small_model(self.model)
        self.quantize("--uniform", "b4g32", "--fit", "mse")
        graph, data = self.out / "model.onnx", self.out / "model.onnx.data"
        good, whole = graph.read_bytes(), data.read_bytes()
        for change, says in ((good.replace(b"\x12\x03mxq", b"\x12\x03abc"), ("model.onnx", "an ONNX model of 'abc'")),
                             (good[:-7], "model.onnx"), (b"", "an ONNX model of ''"),
                             (good.replace(b"MatMulNBits", b"MatMulNBots"), ("model.onnx", "is missing")),
                             (good.replace(b"model.onnx.data", b"../el.onnx.data"), ("model.onnx", "'../el.onnx.data'"))):
            graph.write_bytes(change)
            self.refuses("inspect", self.out, says=says)
        graph.write_bytes(good)
        data.write_bytes(whole[:-1])
        self.refuses("eval", self.out, "--self", says=("model.onnx.data", "a place within the file"))
        data.unlink()
        self.refuses("inspect", self.out, says="an ONNX model")
        self.refuses("inspect", graph, says="an ONNX model")


@needs_smollm2
class RealModel(MxqTest):
    def test_eight_bits_are_nearly_the_model(self):
        out = self.folder / "eight"
        plan = self.mxq_json("quantize", SMOLLM2, "--format", "onnx", "--uniform", "b8g64", "--fit", "mse", "-o", out)
        self.assertEqual(len(plan["matrices"]), 211)
        loss = self.mxq_json("eval", out, "--against", SMOLLM2, "--self", "--sequences", 2, "--tokens", 64)["kl"]["mean"]
        self.assertLess(loss, 0.003)


if __name__ == "__main__":
    unittest.main()
