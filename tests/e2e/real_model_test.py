"""SmolLM2-135M from its GGUF, and a model much larger than the memory that quantize may take."""
import json
import math
import os
import random
import struct
import subprocess
import sys
import unittest

from support import CONFIG, MXQ, SANITIZED, MxqTest, needs_smollm2, read_folder, SMOLLM2


def limited_rss(command, environment):
    """Runs the command in a child of its own; its exit status, standard output and peak resident set."""
    script = ("import json, resource, subprocess, sys\n"
              "done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
              "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024\n"
              "print(json.dumps([done.returncode, done.stdout, done.stderr, peak]))\n")
    done = subprocess.run([sys.executable, "-c", script, *map(str, command)], capture_output=True, text=True,
                          env=environment, check=True)
    return json.loads(done.stdout)


@needs_smollm2
class SmolLM2(MxqTest):
    def test_three_and_a_quarter_bits(self):
        out = self.folder / "out"
        status, text, errors, peak = limited_rss(
            [MXQ, "quantize", SMOLLM2, "--bits", "3.25", "--objective", "rel", "-o", out, "--json", "--quiet"], self.environment)
        self.assertEqual(status, 0, errors)
        result = json.loads(text)
        self.assertEqual(len(result["matrices"]), 210)
        self.assertEqual(result["budget_bytes"], math.floor(3.25 * 106_168_320 / 8))
        self.assertLessEqual(result["bytes"], result["budget_bytes"])
        self.assertGreater(result["bytes"], 0.999 * result["budget_bytes"])
        tensors = read_folder(out)
        stored = sum(len(t[2]) for n, t in tensors.items() if n.rsplit(".", 1)[0] in result["matrices"])
        self.assertEqual(stored, result["bytes"], "the files hold what the plan promises")
        self.assertLess(result["objective"]["value"], result["best_uniform"]["objective"])
        if not SANITIZED:
            self.assertLessEqual(peak, 600 << 20)
            self.assertLessEqual(result["peak_rss_bytes"], 600 << 20)
        for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "mxq-plan.json"):
            self.assertIn(name, result["files"])

    def test_inspect(self):
        report = self.mxq_json("inspect", SMOLLM2)
        self.assertEqual(report["architecture"], "llama")
        self.assertEqual(report["parameters"], 134_515_008)
        self.assertEqual(len(report["matrices"]), 210)
        self.assertEqual({m["dtype"] for m in report["matrices"]}, {"Q4_1"})


@unittest.skipIf(SANITIZED, "a sanitizer's own memory is not ours")
class LargeModel(MxqTest):
    LAYER = {"self_attn.q_proj": (4096, 4096), "self_attn.k_proj": (1024, 4096), "self_attn.v_proj": (1024, 4096),
             "self_attn.o_proj": (4096, 4096), "mlp.gate_proj": (14336, 4096), "mlp.up_proj": (14336, 4096),
             "mlp.down_proj": (4096, 14336)}

    def make(self, folder, total_bytes):
        """Random bf16 shards of Llama-3-8B's shapes, one a layer, about total_bytes together."""
        folder.mkdir()
        rng = random.Random(11)
        # 1 MiB of bf16 of magnitude 0.004 to 0.12, repeated from a random place: quick to make, hard to compress.
        block = b"".join(struct.pack("<H", rng.choice((0, 0x8000)) | rng.randrange(0x3B80, 0x3E00)) for _ in range(1 << 19))
        layer_bytes = sum(2 * n * k for n, k in self.LAYER.values())
        layers = max(1, round(total_bytes / layer_bytes))
        weight_map = {}
        for i in range(layers):
            file = f"model-{i + 1:05}-of-{layers:05}.safetensors"
            header, at = {}, 0
            for module, shape in self.LAYER.items():
                name = f"model.layers.{i}.{module}.weight"
                header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + 2 * math.prod(shape)]}
                at += 2 * math.prod(shape)
                weight_map[name] = file
            text = json.dumps(header).encode()
            with open(folder / file, "wb") as out:
                out.write(struct.pack("<Q", len(text)) + text)
                start = rng.randrange(1 << 18) * 2
                out.write(block[start:])
                at -= len(block) - start
                while at > 0:
                    at -= out.write(block[:at])
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
        (folder / "config.json").write_text(json.dumps(CONFIG | {
            "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": layers, "num_attention_heads": 32,
            "num_key_value_heads": 8}))

    def test_memory_stays_under_the_contract(self):
        """peak RSS <= 512 MiB + 3 x the largest matrix in fp32, whatever the model's size."""
        gib = float(os.environ.get("MXQ_LARGE_MODEL_GIB", "1"))
        self.make(self.folder / "model", gib * 2**30)
        status, text, errors, peak = limited_rss(
            [MXQ, "quantize", self.folder / "model", "--schemes", "b4g64,b3g64", "--fit", "rtn", "--bits", "3.6", "--objective", "rel", "-o",
             self.folder / "out", "--json", "--quiet"], self.environment)
        self.assertEqual(status, 0, errors)
        limit = (512 << 20) + 3 * 4 * 14336 * 4096
        print(f"model {gib} GiB: peak RSS {peak / 2**20:.0f} MiB, limit {limit / 2**20:.0f} MiB")
        self.assertLessEqual(peak, limit)


if __name__ == "__main__":
    unittest.main()
