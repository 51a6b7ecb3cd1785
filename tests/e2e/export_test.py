"""`mxq export`: a quantized model in another file format, with the weights that it has."""
import unittest

from support import SMOLLM2, MxqTest, needs_smollm2, read_folder, small_model

FAST = ("--objective", "rel", "--fit", "mse")  # weights alone
DOWN = ("--skip", "down_proj")  # of small_model(): 160 columns are no whole groups of 64


class Export(MxqTest):
    def setUp(self):
        super().setUp()
        self.model, self.first, self.out = self.folder / "model", self.folder / "first", self.folder / "out"
        small_model(self.model)

    def weights(self, folder):
        back = self.folder / f"{folder.name}-plain"
        self.mxq("dequantize", folder, "--dtype", "f32", "-o", back)
        return {name: data for name, (_, _, data) in read_folder(back).items()}

    def test_weights_stay_where_the_other_format_holds_the_same_numbers(self):
        self.mxq("quantize", self.model, "--format", "compressed-tensors", "--bits", 5, *FAST, *DOWN, "--metadata", "f16-bias", "-o", self.first)
        done = self.mxq_json("export", self.first, "--format", "mlx", "-o", self.out)
        self.assertEqual(done["format"], "mlx")
        self.assertEqual(sum(done["schemes"].values()), 12)
        self.assertGreater(len(done["schemes"]), 1)
        before, after = self.weights(self.first), self.weights(self.out)
        self.assertEqual(before.keys(), after.keys())
        # Biases are scales times a power of two, which fp16 holds: nothing changes.
        self.assertEqual({name for name in before if before[name] != after[name]}, set())
        self.assertEqual(done["largest_change"], 0)

    def test_what_no_scheme_holds_is_refused_by_name(self):
        self.mxq("quantize", self.model, "--bits", 4.5, *FAST, "-o", self.first)  # rotated
        self.refuses("export", self.first, "--format", "mlx", "-o", self.out,
                     says=("q_proj", "stored as", "no scheme of the format mlx", "--skip", "original model"))
        self.refuses("export", self.model, "--format", "mlx", "-o", self.out, says=("without quantized matrices", "mxq quantize"))
        self.refuses("export", self.first, "--format", "none", "-o", self.out, status=2, says=("'none'", "mlx"))
        self.refuses("export", self.first, "--format", "mxq", "-o", self.first, status=2, says="first")

    def test_skipped_matrices_become_floats_and_are_told(self):
        self.mxq("quantize", self.model, "--format", "mlx", "--uniform", "b4g32", "--fit", "mse", *DOWN, "--metadata", "f16-bias", "--no-embeddings", "-o", self.first)
        done = self.mxq_json("export", self.first, "--format", "mxq", "--skip", "o_proj", "-o", self.out)
        self.assertEqual(done["schemes"], {"b4g32": 10})
        self.assertEqual(len([note for note in done["notes"] if "o_proj" in note and "becomes floats" in note]), 2)
        before, after = self.weights(self.first), self.weights(self.out)
        changed = {name for name in before if before[name] != after[name]}
        self.assertEqual({name for name in changed if "o_proj" not in name}, set())


@needs_smollm2
class OfGguf(MxqTest):
    def test_blocks_of_q4_1_are_groups_of_mlx_bit_for_bit(self):
        out = self.folder / "mlx"
        done = self.mxq_json("export", SMOLLM2, "--format", "mlx", "-o", out)
        self.assertGreaterEqual(done["schemes"]["b4g32"], 210)
        self.assertLess(done["largest_change"], 1e-3)
        loss = self.mxq_json("eval", out, "--against", SMOLLM2, "--self", "--sequences", 2, "--tokens", 64)["kl"]["mean"]
        self.assertLess(loss, 1e-3)


if __name__ == "__main__":
    unittest.main()
