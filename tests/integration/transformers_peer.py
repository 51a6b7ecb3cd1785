#!/usr/bin/env python3
"""What `mxq dequantize` writes, loaded by transformers: the logits on 64 tokens equal, bit for bit, those of the original
model with its weights replaced by our dequantized matrices.

Run by `make test-integration`; needs torch, transformers and safetensors (scripts/setup.sh --peers).
"""
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

MXQ = os.environ["MXQ_BIN"]
GGUF = Path(os.environ["MXQ_SMOLLM2_GGUF"])


def mxq(*arguments):
    subprocess.run([MXQ, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


@unittest.skipUnless(GGUF.exists(), f"no model at {GGUF}")
class Transformers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.temporary.name)
        mxq("quantize", GGUF, "--bits", "3.25", "--objective", "rel", "-o", cls.folder / "packed")
        for dtype in ("f32", "f16", "bf16"):
            mxq("dequantize", cls.folder / "packed", "-o", cls.folder / dtype, "--dtype", dtype)
        mxq("dequantize", GGUF, "-o", cls.folder / "original", "--dtype", "f32")

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def logits(self, model):
        ids = torch.randint(0, 49152, (1, 64), generator=torch.Generator().manual_seed(3))
        with torch.inference_mode():
            return model(ids).logits

    def test_logits_bit_for_bit(self):
        replaced = AutoModelForCausalLM.from_pretrained(self.folder / "original", dtype=torch.float32).eval()
        weights = load_file(self.folder / "f32/model.safetensors")
        matrices = [n for n in weights if "_proj." in n]
        self.assertEqual(len(matrices), 210)
        before = self.logits(replaced)
        with torch.no_grad():
            parameters = dict(replaced.named_parameters())
            for name in matrices:
                parameters[name].copy_(weights[name])
        ours = AutoModelForCausalLM.from_pretrained(self.folder / "f32", dtype=torch.float32).eval()
        expected, found = self.logits(replaced), self.logits(ours)
        self.assertTrue(torch.equal(expected, found))
        self.assertFalse(torch.equal(before, found), "quantization must have changed something")
        print(f"logits of {tuple(found.shape)} equal bit for bit; max |change| by quantization "
              f"{(before - found).abs().max():.3f}")

    def test_half_precision_loads(self):
        for dtype, torch_dtype in (("f16", torch.float16), ("bf16", torch.bfloat16)):
            model = AutoModelForCausalLM.from_pretrained(self.folder / dtype, dtype="auto")
            self.assertEqual(model.dtype, torch_dtype)

    def test_tokenizer_and_generation(self):
        tokenizer = AutoTokenizer.from_pretrained(self.folder / "original")
        model = AutoModelForCausalLM.from_pretrained(self.folder / "original", dtype=torch.float32)
        prompt = tokenizer("The capital of France is", return_tensors="pt")
        text = tokenizer.decode(model.generate(**prompt, max_new_tokens=8, do_sample=False)[0])
        self.assertIn("Paris", text)

    def test_checkpoint_opens_with_the_safetensors_package(self):
        tensors = load_file(self.folder / "packed/model.safetensors")
        self.assertIn("model.layers.0.self_attn.q_proj.codes", tensors)


if __name__ == "__main__":
    unittest.main(verbosity=2)
