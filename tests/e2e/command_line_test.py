"""Help, version, usage errors, inspect and measure on a small model."""
import csv
import io
import json
import math
import subprocess
import unittest

from support import GAUSSIAN_SCHEMES, MXQ, WIDE_SCHEMES, MxqTest, floats, matrix_names, small_model


class CommandLine(MxqTest):
    def test_alone_and_help_show_the_command_most_people_need(self):
        for arguments in ([], ["--help"]):
            self.assertIn("mxq quantize MODEL --bits 3.25 -o OUT", self.mxq(*arguments))

    def test_every_subcommand_has_help(self):
        for command in ("inspect", "measure", "plan", "quantize", "dequantize", "tokenize"):
            self.assertIn("MODEL", self.mxq(command, "--help"))

    def test_version(self):
        self.assertRegex(self.mxq("--version"), r"^mxq \d+\.\d+\.\d+\n$")

    def test_wrong_usage_exits_2_with_one_line(self):
        for arguments in (["nonsense"], ["inspect"], ["quantize", "x"], ["plan", "--bits"], ["--threads", "0", "inspect", "x"],
                          ["--log-level", "loud", "inspect", "x"], ["quantize", "x", "-o", "y"],
                          ["quantize", "x", "-o", "y", "--bits", "3", "--size", "1GiB"], ["plan", "--bits", "3"],
                          ["dequantize", "x", "-o", "y", "--dtype", "f8"]):
            self.refuses(*arguments, status=2)

    def test_a_value_that_cannot_be_read_is_headed_by_its_option(self):
        for command, option in (("quantize", "--shard-bytes"), ("quantize", "--size"), ("quantize", "--reserve"),
                                ("quantize", "--objective"), ("quantize", "--max-loss"), ("eval", "--recipe"),
                                ("eval", "--compute"), ("generate", "--compute")):
            self.refuses(command, "x", option, "-7", status=2, says=f"{option}: '-7'; expected")

    def test_missing_model(self):
        self.refuses("inspect", self.folder / "none", says="none")

    def test_full_standard_output(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([MXQ, "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 1)


class Inspect(MxqTest):
    def test_matrices_and_statistics(self):
        tensors = small_model(self.folder / "model")
        report = self.mxq_json("inspect", self.folder / "model")
        self.assertEqual(report["architecture"], "llama")
        self.assertEqual(report["parameters"], sum(math.prod(t[1]) for t in tensors.values()))
        self.assertEqual([m["name"] for m in report["matrices"]], matrix_names())
        for matrix in report["matrices"]:
            values = floats(tensors[matrix["name"] + ".weight"])
            self.assertEqual([matrix["rows"], matrix["cols"]], list(tensors[matrix["name"] + ".weight"][1]))
            self.assertEqual(matrix["dtype"], "BF16")
            magnitudes = sorted(map(abs, values))
            self.assertEqual(matrix["percentiles"]["0"], magnitudes[0])
            self.assertEqual(matrix["percentiles"]["100"], magnitudes[-1])
            at = 0.99 * (len(magnitudes) - 1)
            low, high = magnitudes[int(at)], magnitudes[min(int(at) + 1, len(magnitudes) - 1)]
            self.assertAlmostEqual(matrix["percentiles"]["99"], low + (at - int(at)) * (high - low), places=9)
            mean = sum(values) / len(values)
            second = sum((v - mean) ** 2 for v in values) / len(values)
            fourth = sum((v - mean) ** 4 for v in values) / len(values)
            self.assertAlmostEqual(matrix["kurtosis"], fourth / second**2, places=6)
        self.assertIn("q_proj", self.mxq("inspect", self.folder / "model"))


class Measure(MxqTest):
    def test_table_has_every_matrix_and_scheme(self):
        tensors = small_model(self.folder / "model")
        self.mxq("measure", self.folder / "model", "-o", self.folder / "errors.csv")
        text = (self.folder / "errors.csv").read_text()
        self.assertTrue(text.startswith("layer,module,nbit1,gsize1,nbit2,gsize2,fnorm,memmb,params,kurtosis,"
                                        "norm,matrix,rows,cols,scheme,bytes,fit,normalize,axis,metadata\n"))
        rows = list(csv.DictReader(io.StringIO(text)))
        self.assertEqual([(r["matrix"], r["scheme"]) for r in rows],
                         [(m, s) for m in matrix_names() for s in WIDE_SCHEMES + GAUSSIAN_SCHEMES])
        for row in rows:
            values = floats(tensors[row["matrix"] + ".weight"])
            self.assertEqual(int(row["params"]), len(values))
            self.assertAlmostEqual(float(row["norm"]), math.sqrt(sum(v * v for v in values)), places=6)
            self.assertLess(0, float(row["fnorm"]))
            self.assertLess(float(row["fnorm"]), float(row["norm"]))
        self.assertEqual(rows[0]["layer"], "0")
        self.assertEqual(rows[0]["module"], "self_attn.q_proj")

    def test_cache_gives_the_same_table_and_is_used(self):
        small_model(self.folder / "model")
        first = self.mxq("measure", self.folder / "model")
        done = json.loads(self.mxq("measure", self.folder / "model", "--json", "-o", self.folder / "again.csv"))
        self.assertEqual(done["from_cache"], 14)
        self.assertEqual((self.folder / "again.csv").read_text(), first)
        self.assertEqual(self.mxq("measure", self.folder / "model", "--no-cache"), first)
        other = json.loads(self.mxq("measure", self.folder / "model", "--json", "-o", self.folder / "x", "--fit", "rtn"))
        self.assertEqual(other["from_cache"], 0)

    def test_damaged_cache_is_measured_anew(self):
        small_model(self.folder / "model")
        first = self.mxq("measure", self.folder / "model")
        entries = list((self.folder / "cache").rglob("*.json"))
        self.assertEqual(len(entries), 14)
        for i, entry in enumerate(entries):
            entry.write_text(entry.read_text()[:20] if i % 2 else '{"norm": "x", "kurtosis": 1, "fnorm": {}}')
        done = json.loads(self.mxq("measure", self.folder / "model", "--json", "-o", self.folder / "again.csv"))
        self.assertEqual(done["from_cache"], 0)
        self.assertEqual((self.folder / "again.csv").read_text(), first)

    def test_threads_do_not_change_the_table(self):
        small_model(self.folder / "model")
        tables = {self.mxq("measure", self.folder / "model", "--no-cache", "--threads", n) for n in (1, 2, 5)}
        self.assertEqual(len(tables), 1)


if __name__ == "__main__":
    unittest.main()
