"""What of a model is planned, and what is said about the rest."""
import json
import math
import random
import unittest

from support import MxqTest, bf16, read_folder, small_model, write_safetensors

REL = ("--objective", "rel", "--fit", "mse")


def model_of(folder, shapes, **config):
    """Random weights of any shapes, in BF16, without tokenizer."""
    rng = random.Random(7)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({
        "model_type": "unheard_of", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "vocab_size": 96, **config}))
    tensors = {name: ("BF16", shape, bf16([rng.gauss(0, 0.05) for _ in range(math.prod(shape))]))
               for name, shape in shapes.items()}
    write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
    return tensors


class Coverage(MxqTest):
    def quantized(self, model, *options):
        """The names of the matrices of the checkpoint, what --json says of the rest, and standard error."""
        done = self.run_mxq("quantize", model, *(options or ("--bits", "4")), *REL, "-o", self.folder / "q", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        config = json.loads((self.folder / "q/config.json").read_text())["quantization_config"]
        return set(config["matrices"]), json.loads(done.stdout)["coverage"], done.stderr

    def comes_back(self, tensors):
        self.mxq("dequantize", self.folder / "q", "-o", self.folder / "d", "--dtype", "bf16")
        back = read_folder(self.folder / "d")
        self.assertEqual({name: list(shape) for name, (_, shape, _) in tensors.items()},
                         {name: shape for name, (_, shape, _) in back.items()})
        return back

    def test_linear_layers_of_any_architecture(self):
        # As transformers saves phi, starcoder2, lfm2, deepseek, granitemoehybrid, gpt2, gpt_neox, mpt, opt and mamba.
        linear = [*(f"model.layers.0.{m}" for m in (
            "self_attn.dense", "mlp.fc1", "mlp.c_fc", "conv.in_proj", "feed_forward.w1", "self_attn.kv_a_proj_with_mqa",
            "mlp.shared_experts.up_proj", "mamba.in_proj", "shared_mlp.input_linear", "linear_attn.in_proj_qkvz")),
            "transformer.h.0.attn.c_attn", "gpt_neox.layers.0.attention.query_key_value", "transformer.blocks.0.ffn.up_proj",
            "model.decoder.layers.0.fc1", "backbone.layers.0.mixer.out_proj", "language_model.model.layers.1.mlp.up_proj",
            "layers.1.self_attn.q_proj"]
        kept = {"model.layers.0.mlp.gate": (4, 64), "model.layers.0.mamba.conv1d": (64, 1, 4),
                "model.layers.0.mamba.dt_proj": (64, 32), "model.layers.0.self_attn.q_norm": (32, 32),
                "model.layers.0.input_layernorm": (64,), "transformer.wpe": (32, 64)}
        tensors = model_of(self.folder / "m", {f"{name}.weight": (48, 64) for name in linear} |
                           {f"{name}.weight": shape for name, shape in kept.items()})
        names, coverage, stderr = self.quantized(self.folder / "m")
        self.assertEqual(names, set(linear))
        self.assertEqual({part["reason"]: part["weights"] for part in coverage["left"]}, {"router": 256, "time_step": 2048})
        self.assertEqual(coverage["planned"], 48 * 64 * len(linear))
        self.assertEqual(coverage["weights"], sum(math.prod(shape) for _, shape, _ in tensors.values()))
        self.assertNotIn("stay as they are", stderr)
        self.comes_back(tensors)

    def test_layers_behind_the_last_of_a_model_that_is_run(self):
        small_model(self.folder / "m")
        config = json.loads((self.folder / "m/config.json").read_text())
        (self.folder / "m/config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
        left = self.mxq_json("inspect", self.folder / "m")["coverage"]["left"]
        self.assertEqual([part["reason"] for part in left if part["reason"] != "embeddings"], ["beyond"])

    def test_stacks_of_experts_towers_and_projectors_are_said(self):
        shapes = {"model.layers.0.self_attn.q_proj.weight": (64, 64),
                  "model.layers.0.mlp.experts.gate_up_proj": (4, 64, 32), "model.layers.0.mlp.experts.down_proj": (4, 32, 64),
                  "model.layers.0.mlp.experts.gate_up_proj_bias": (4, 64),
                  "visual.blocks.0.attn.qkv.weight": (96, 32), "multi_modal_projector.linear_1.weight": (64, 32),
                  "model.layers.2.self_attn.q_proj.weight": (64, 64), "model.embed_tokens.weight": (96, 64)}
        tensors = model_of(self.folder / "m", shapes)
        expected = {"stack": 2 * 4 * 64 * 32, "tower": 96 * 32, "outside": 64 * 32, "beyond": 64 * 64,
                    "embeddings": 96 * 64}
        weights = sum(math.prod(s) for s in shapes.values())
        line = (f"{100 * sum(expected.values()) / weights:.1f} % of {weights / 1000:.1f} k weights stay as they are: "
                f"{100 * expected['stack'] / weights:.1f} % experts in stacks of three dimensions")
        for command in (("inspect", self.folder / "m"), ("plan", self.folder / "m", "--bits", "4", *REL),
                        ("measure", self.folder / "m", *REL[2:], "-o", self.folder / "e.csv")):
            done = self.run_mxq(*command, "--json")
            coverage = json.loads(done.stdout)["coverage"]
            self.assertEqual({part["reason"]: part["weights"] for part in coverage["left"]}, expected, command)
            self.assertIn(line, done.stderr)
            self.assertIn("model.layers.0.mlp.experts.", done.stderr)
        for command in (("inspect", self.folder / "m"), ("plan", self.folder / "m", "--bits", "4", *REL)):
            self.assertIn("left       " + line, self.mxq(*command))
        names, coverage, stderr = self.quantized(self.folder / "m")
        self.assertEqual(names, {"model.layers.0.self_attn.q_proj"})
        self.assertEqual({part["reason"]: part["weights"] for part in coverage["left"]}, expected)
        self.assertIn("--bits counts the planned matrices alone", stderr)
        back = self.comes_back(tensors)
        for name in set(tensors) - {"model.layers.0.self_attn.q_proj.weight"}:
            self.assertEqual(back[name][2], tensors[name][2], name)

    def test_embeddings_and_skipped_matrices(self):
        small_model(self.folder / "m")
        left = lambda *o: {p["reason"]: p["weights"] for p in self.mxq_json(
            "plan", self.folder / "m", "--bits", "4", *REL, *o)["coverage"]["left"]}
        self.assertEqual(left(), {"embeddings": 2 * 96 * 64})
        self.assertEqual(left("--embeddings"), {})
        self.assertEqual(left("--embeddings", "--skip", "down_proj"), {"skipped": 2 * 64 * 160})
        self.assertNotIn("left  ", self.mxq("plan", self.folder / "m", "--bits", "4", *REL, "--embeddings"))

    def test_a_tied_copy_is_stored_once(self):
        tied, both = self.folder / "tied", self.folder / "both"
        tensors = small_model(tied, config={"tie_word_embeddings": True})
        del tensors["lm_head.weight"]
        write_safetensors(tied / "model.safetensors", tensors, {"format": "pt"})
        small_model(both, config={"tie_word_embeddings": True})
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
        write_safetensors(both / "model.safetensors", tensors, {"format": "pt"})
        for options in (("--bits", "4"), ("--size", "100KB"), ("--bits", "4", "--embeddings")):
            sizes = []
            for model in (tied, both):
                names, coverage, _ = self.quantized(model, *options, *(("--overwrite",) if sizes else ()))
                self.assertNotIn("lm_head", names)
                sizes.append(((self.folder / "q/model.safetensors").stat().st_size, names, coverage))
            self.assertEqual(sizes[0], sizes[1], options)
            if options[0] == "--size":
                self.assertLessEqual(sizes[0][0], 100_000)
            self.assertNotIn("lm_head.weight", read_folder(self.folder / "q"))
            back = self.comes_back(tensors)
            self.assertEqual(back["lm_head.weight"], back["model.embed_tokens.weight"])
            # A checkpoint of a checkpoint is no different.
            self.mxq("quantize", self.folder / "q", "--bits", "4", *REL, "-o", self.folder / "again")
            self.assertNotIn("lm_head.weight", read_folder(self.folder / "again"))
            self.mxq("dequantize", self.folder / "again", "-o", self.folder / "d2")
            self.assertIn("lm_head.weight", read_folder(self.folder / "d2"))
            for folder in ("q", "d", "again", "d2"):
                for file in (self.folder / folder).iterdir():
                    file.unlink()
                (self.folder / folder).rmdir()

    def test_a_head_of_its_own_in_a_tied_model_is_kept_and_said(self):
        tensors = small_model(self.folder / "m", config={"tie_word_embeddings": True})
        names, coverage, _ = self.quantized(self.folder / "m", "--bits", "4", "--embeddings")
        self.assertNotIn("lm_head", names)
        self.assertEqual({p["reason"]: p["weights"] for p in coverage["left"]}, {"unused_head": 96 * 64})
        self.assertEqual(self.comes_back(tensors)["lm_head.weight"][2], tensors["lm_head.weight"][2])

    def test_copies_that_lie_are_refused(self):
        tensors = small_model(self.folder / "m", config={"tie_word_embeddings": True})
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
        write_safetensors(self.folder / "m/model.safetensors", tensors, {"format": "pt"})
        self.quantized(self.folder / "m")
        path = self.folder / "q/config.json"
        config = json.loads(path.read_text())
        self.assertEqual(config["quantization_config"]["copies"], {"lm_head.weight": "model.embed_tokens.weight"})
        for copies in ({"lm_head.weight": "absent"}, {"model.norm.weight": "model.embed_tokens.weight"}, {"a": 1}, [],
                       {"a": "model.embed_tokens.weight", "b": "a"}):
            config["quantization_config"]["copies"] = copies
            path.write_text(json.dumps(config))
            self.refuses("inspect", self.folder / "q", says="config.json" if copies in ({"a": 1}, []) else "is a copy of")


if __name__ == "__main__":
    unittest.main()
