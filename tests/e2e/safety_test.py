"""Nothing that mxq did not write is lost, whatever the output is called; and the program ends as it should whatever becomes of its streams."""
import hashlib
import os
import stat
import subprocess
import time
import unittest
from pathlib import Path

import specs
from support import MXQ, MxqTest, said, small_text_model

FAST = ("--uniform", "b4g32", "--fit", "mse", "--normalize", "none")
TRIAL = ("--fit", "mse", "--normalize", "columns", "--sample-tokens", "256", "--calibration", "none")


def contents(folder):
    """What every name below the folder is; the cache's are left out."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.relative_to(folder).parts[0] == "cache": continue
        status = path.lstat()
        if stat.S_ISREG(status.st_mode): found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        else: found[str(path)] = (stat.S_IFMT(status.st_mode), os.readlink(path) if path.is_symlink() else None)
    return found


class SafetyTest(MxqTest):
    def setUp(self):
        super().setUp()
        self.models = self.folder / "models"
        small_text_model(self.models / "a")
        small_text_model(self.models / "b", seed=2)
        self.model = self.models / "a"
        (self.models / "notes.txt").write_text("not to be lost\n")
        self.text = self.folder / "text"
        self.text.write_text("The tower is 324 metres tall, about the same height as an 81-storey building. " * 20)

    def untouched(self, *arguments, says, cwd=None, status=2):
        """Refused in one line, and everything is as it was."""
        before = contents(self.folder)
        done = self.run_mxq(*arguments, cwd=cwd)
        command = "mxq " + " ".join(map(str, arguments))
        self.assertEqual(done.returncode, status, f"{command}\n{done.stdout}{done.stderr}")
        self.assertEqual(len(said(done.stderr)), 1, f"{command}\n{done.stderr}")
        for text in [says] if isinstance(says, str) else says: self.assertIn(text, done.stderr, command)
        self.assertEqual(contents(self.folder), before, command)


class Folders(SafetyTest):
    def commands(self):
        """All that make folders of a model, without their outputs."""
        plan = self.folder / "plan.json"
        if not plan.exists(): self.mxq("plan", self.model, "--bits", "4.2", "--objective", "rel", "--fit", "mse", "-o", plan)
        return [["quantize", self.model, *FAST], ["quantize", self.model, "--plan", plan],
                ["quantize", self.model, "--bits", "4.2", "--objective", "rel", "--fit", "mse"],
                ["quantize", self.model, "--bits", "4.2", "--verify", *TRIAL],
                ["quantize", self.model, "--max-loss", "5%", *TRIAL], ["dequantize", self.model]]

    def test_out_is_never_in_or_above_what_is_read(self):
        (self.folder / "link").symlink_to(self.models)
        (self.folder / "here").mkdir()
        for command in self.commands():
            for out, says in ((self.models, "holds the model"), (self.model, "is the model"), (f"{self.model}/", "is the model"),
                              (self.folder / "link/a", "is the model"), (self.folder / "link", "holds the model"),
                              (self.model / "new", "inside the model"), (self.models / "b/../a", "is the model"),
                              (self.folder, "holds the model"), ("/", "holds the model")):
                self.untouched(*command, "-o", out, "--overwrite", says=says)
            for out in (".", "../here", "./"):
                self.untouched(*command, "-o", out, "--overwrite", cwd=self.folder / "here", says="working folder")
        self.untouched("dequantize", "a", "-o", "../models/a", "--overwrite", cwd=self.models, says="is the model")
        self.untouched("dequantize", ".", "-o", ".", "--overwrite", cwd=self.model, says="is the model")
        self.untouched("dequantize", ".", "-o", "new", cwd=self.model, says="inside the model")

    def test_out_is_never_another_input(self):
        plan = self.folder / "plan/p.json"
        plan.parent.mkdir()
        self.mxq("plan", self.model, "--bits", "4.2", "--objective", "rel", "--fit", "mse", "-o", plan)
        self.untouched("quantize", self.model, "--plan", plan, "-o", plan.parent, "--overwrite", says="holds the plan")
        self.untouched("quantize", self.model, "--plan", plan, "-o", plan, "--overwrite", says="is the plan")
        (self.folder / "texts").mkdir()
        text = self.folder / "texts/t"
        text.write_text(self.text.read_text())
        self.untouched("quantize", self.model, "--bits", "4", "--verify", "--text", text, *TRIAL, "-o", text.parent, "--overwrite",
                       says="holds the text")
        self.untouched("quantize", self.model, "--bits", "4", "--calibration", text, "-o", text.parent, "--overwrite",
                       says="holds the calibration text")

    def test_out_never_holds_files_that_a_model_links_to(self):
        blobs, hub = self.folder / "blobs", self.folder / "hub"
        blobs.mkdir()
        hub.mkdir()
        for path in self.model.iterdir():
            (blobs / path.name).write_bytes(path.read_bytes())
            (hub / path.name).symlink_to(blobs / path.name)
        self.untouched("quantize", hub, *FAST, "-o", blobs, "--overwrite", says="holds files of the model")
        self.mxq("quantize", hub, *FAST, "-o", self.folder / "out")

    def test_only_what_mxq_wrote_is_replaced(self):
        out = self.folder / "out"
        for command in self.commands():
            self.untouched(*command, "-o", self.models / "b", "--overwrite", says=("no list of what mxq wrote", "config.json"))
            self.mxq(*command, "-o", out)
            self.untouched(*command, "-o", out, says="--overwrite")
            (out / "notes.txt").write_text("precious")
            self.untouched(*command, "-o", out, "--overwrite", says="it holds 'notes.txt'")
            (out / "notes.txt").unlink()
            (out / "sub").mkdir()
            self.untouched(*command, "-o", out, "--overwrite", says="it holds 'sub'")
            (out / "sub").rmdir()
            config = (out / "config.json").read_text()
            (out / "config.json").write_text(config.replace(":", ": ", 1))
            self.untouched(*command, "-o", out, "--overwrite", says="'config.json' is no longer as mxq wrote it")
            (out / "config.json").write_text(config)
            (self.folder / "to-out").symlink_to(out)
            self.untouched(*command, "-o", self.folder / "to-out", "--overwrite", says="it is a link")
            (self.folder / "to-out").unlink()
            self.mxq(*command, "-o", out, "--overwrite")
            self.assertEqual([p.name for p in self.folder.glob(".*")], [])
            for path in out.iterdir(): path.unlink()
            out.rmdir()

    def test_neighbours_are_kept(self):
        for name in (".out.old", ".out.trial", ".out.partials"):
            (self.folder / name).mkdir()
            (self.folder / name / "precious").write_text(name)
        out = self.folder / "out"
        for command in self.commands():
            before = contents(self.folder)
            self.mxq(*command, "-o", out)
            self.mxq(*command, "-o", out, "--overwrite")
            for path in out.iterdir(): path.unlink()
            out.rmdir()
            self.assertEqual(contents(self.folder), before)
        (self.folder / ".out.partial").mkdir()
        (self.folder / ".out.partial/precious").write_text("1")
        for command in self.commands(): self.untouched(*command, "-o", out, says=("in the way", "precious"))
        (self.folder / ".out.partial/precious").unlink()
        (self.folder / ".out.partial").rmdir()
        (self.folder / ".out.trial0").mkdir()
        (self.folder / ".out.trial0/precious").write_text("1")
        for command in self.commands()[3:5]: self.untouched(*command, "-o", out, says=(".out.trial0", "precious"))

    def test_killed_while_replacing(self):
        """The name always stands for the old folder or the new one, whole."""
        out = self.folder / "out"
        self.mxq("quantize", self.model, *FAST, "-o", out)
        old = contents(out)
        self.mxq("quantize", self.model, "--uniform", "b3g32", "--fit", "mse", "--normalize", "none", "-o", self.folder / "other")
        new = {k.replace("/other/", "/out/"): v for k, v in contents(self.folder / "other").items()}
        for i in range(12):
            command = ["quantize", str(self.model), *FAST, "-o", str(out), "--overwrite"]
            if i % 2 == 0: command[2:4] = ["--uniform", "b3g32"]
            process = subprocess.Popen([MXQ, *command], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.008 * i)
            process.kill()
            process.wait()
            self.assertIn(contents(out), (old, new))
        self.mxq("quantize", self.model, *FAST, "-o", out, "--overwrite")
        self.assertEqual(contents(out), old)
        self.assertEqual([p.name for p in self.folder.glob(".*")], [])


class Files(SafetyTest):
    def commands(self):
        """All that write one file: arguments that end with the option that names it."""
        table, store = self.folder / "errors.csv", self.folder / "r.db"
        if not table.exists():
            self.mxq("measure", self.model, "--fit", "mse", "-o", table)
            (self.folder / "r.csv").write_text("model,algo,config\nx,hqq,b4g64\n")
            self.mxq("bench", "import", store, self.folder / "r.csv")
        return [["measure", self.model, "--fit", "mse", "-o"], ["plan", "--errors", table, "--bits", "4.2", "-o"],
                ["plan", "--errors", table, "--frontier"], ["bench", "export", store, "-o"],
                ["eval", self.model, "--text", self.text, "--window", "64", "--against", self.models / "b", "--base-logits"],
                ["bench", "import"]]

    def run_on(self, command, out, run):
        after = [self.folder / "r.csv"] if command == ["bench", "import"] else []
        return run(*command, out, *after)

    def test_special_files_and_those_of_others(self):
        os.mkfifo(self.folder / "pipe")
        (self.folder / "link").symlink_to(self.models / "notes.txt")
        (self.folder / "dangling").symlink_to(self.folder / "nowhere")
        (self.folder / "folder").mkdir()
        (self.folder / "other.csv").write_text("layer,module,nbit1,gsize1,nbit2,gsize2,fnorm,memmb,params\n0,q,4,64,8,128,1.5,2,4000000\n")
        for command in self.commands():
            for out, says in (("/dev/null", "a device"), ("/dev/stdout", "a link"), (self.folder / "pipe", "a pipe"),
                              (self.folder / "link", "a link"), (self.folder / "dangling", "a link"), (self.folder / "folder", "a folder"),
                              (self.models / "notes.txt", "did not write"), (self.folder / "other.csv", "did not write")):
                self.run_on(command, out, lambda *a, says=says: self.untouched(*a, says=says))

    def test_inputs(self):
        table, store = self.folder / "errors.csv", self.folder / "r.db"
        for command in self.commands():
            reads_model = self.model in command
            for name in ("model.safetensors", "config.json", "new.csv") if reads_model else ():
                self.untouched(*command, self.model / name, says="inside the model")
        self.untouched("plan", "--errors", table, "--bits", "4.2", "-o", table, says="is the error table")
        self.untouched("plan", "--errors", table, "--bits", "4.2", "-o", self.folder / "p", "--frontier", self.models / "../p",
                       says="it is the plan")
        self.untouched("plan", "--errors", table, "--bits", "4.2", "-o", self.folder / "p", "--frontier", self.model / "config.json",
                       says="did not write")
        self.untouched("bench", "export", store, "-o", store, says="is the store")
        self.untouched("bench", "import", self.folder / "r.csv", self.folder / "r.csv", says="is the results")
        self.untouched("eval", self.model, "--text", self.text, "--against", self.models / "b", "--base-logits", self.text, says="is the text")
        self.untouched("eval", self.model, "--text", self.text, "--against", self.models / "b", "--base-logits",
                       self.models / "b/model.safetensors", says="inside the base")
        spec = self.folder / "spec.toml"
        spec.write_text(specs.spec({"name": "m", "path": str(self.model)}, specs.ROUNDED))
        self.untouched("bench", spec, "--store", spec, says="is the spec")
        self.untouched("bench", spec, "--store", self.model / "config.json", says="inside the model")
        self.untouched("bench", spec, "--store", self.models / "notes.txt", says="did not write")

    def test_own_and_empty_files_are_replaced(self):
        for i, command in enumerate(self.commands()):
            out = self.folder / f"own{i}"
            if "--base-logits" not in command: out.write_text("")
            (self.folder / f".own{i}.partial").write_text("mine")
            self.run_on(command, out, self.mxq)
            first = out.read_bytes()
            self.run_on(command, out, self.mxq)
            # Stores and plans say when, and how long it took.
            if command != ["bench", "import"] and "--bits" not in command: self.assertEqual(out.read_bytes(), first)
            self.assertEqual((self.folder / f".own{i}.partial").read_text(), "mine")

    def test_what_lies_beside_a_store(self):
        self.commands()
        for end in ("-wal", "-shm", "-journal"):
            (self.folder / f"new.db{end}").write_text("mine")
            self.untouched("bench", "import", self.folder / "new.db", self.folder / "r.csv", says=f"new.db{end}")
            (self.folder / f"new.db{end}").unlink()
        spec = self.folder / "spec.toml"
        spec.write_text(specs.spec({"name": "m", "path": str(self.model)}, specs.ROUNDED))
        mine = self.folder / "spec.db.work"
        for name in ("mine", "worker-abcdef"):
            (mine / name).mkdir(parents=True)
            (mine / name / "precious").write_text("1")
        before = contents(mine)
        self.mxq("bench", spec)
        self.assertEqual(contents(mine), before)


class Streams(SafetyTest):
    def commands(self):
        return [["--help"], ["--version"], ["inspect", self.model], ["inspect", self.model, "--json"],
                ["measure", self.model, "--fit", "mse"], ["plan", self.model, "--bits", "4", "--objective", "rel", "--fit", "mse"],
                ["eval", self.model, "--text", self.text, "--window", "64"],
                ["generate", self.model, "--prompt", "x", "--tokens", "4"], ["generate", self.model, "--prompt", "x", "--tokens", "4", "--json"],
                ["tokenize", self.model, "--text", self.text]]

    def run_shell(self, redirection, command):
        line = " ".join(f"'{part}'" for part in [MXQ, *command]) + " " + redirection
        return subprocess.run(["bash", "-c", line], capture_output=True, text=True, errors="replace", env=self.environment,
                              timeout=600)

    def test_standard_output_full_or_closed(self):
        for command in self.commands():
            for redirection in (">/dev/full", ">&-"):
                done = self.run_shell(redirection, command)
                self.assertEqual(done.returncode, 1, f"{command} {redirection}\n{done.stderr}")
                errors = [line for line in done.stderr.splitlines() if line.startswith("mxq: error: ")]
                self.assertEqual(len(errors), 1, f"{command} {redirection}\n{done.stderr}")
                self.assertIn("write standard output: ", errors[0])

    def test_standard_error_full_or_closed(self):
        for redirection in ("2>/dev/full", "2>&-"):
            for command in self.commands():
                done = self.run_shell(redirection, command)
                self.assertEqual(done.returncode, 0, f"{command} {redirection}")
            for status, command in ((1, ["inspect", self.folder / "none"]), (2, ["nonsense"]), (2, ["quantize", self.model, "-o", "x"]),
                                    (1, ["generate", self.folder / "none"])):
                self.assertEqual(self.run_shell(redirection, command).returncode, status, f"{command} {redirection}")
        # Nothing that is meant for a closed stream gets into a file.
        for redirection in ("2>&-", ">&-", "<&- >&- 2>&-"):
            out = self.folder / f"out{len(redirection)}"
            self.assertEqual(self.run_shell(redirection, ["dequantize", self.model, "-o", out]).returncode, 0)
            self.assertEqual(self.run_shell(">/dev/null", ["inspect", out]).returncode, 0)
        self.assertEqual(len({path.read_bytes() for path in self.folder.glob("out*/model.safetensors")}), 1)

    def test_a_reader_that_goes_away(self):
        process = subprocess.Popen([MXQ, "generate", self.model, "--prompt", "x", "--tokens", "100000"], env=self.environment,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # bytes: random weights write any
        process.stdout.read(1)
        process.stdout.close()
        self.assertEqual(process.wait(120), 1)
        self.assertIn(b"write standard output: Broken pipe", process.stderr.read().splitlines()[-1])
        process.stderr.close()

    def test_expressions_end(self):
        slow = "(([a-z_.0-9]+)+)+[!?]"
        rel = ("--objective", "rel", "--fit", "mse")
        self.untouched("quantize", self.model, "--bits", "4", *rel, "--pin", f"{slow}=b4g64", "-o", self.folder / "out",
                       says=("takes too long", slow))
        self.untouched("quantize", self.model, "--bits", "4", *rel, "--skip", slow, "-o", self.folder / "out", says=("--skip", "takes too long"))
        self.untouched("quantize", self.model, "--bits", "4", *rel, "--skip", "(?i)Q_PROJ", "-o", self.folder / "out", says="(?i")
        self.untouched("quantize", self.model, "--bits", "4", *rel, "--pin", "(([a-z_.0-9]+)+)+!=b4g64", "-o", self.folder / "out",
                       says="no matrix has a name that matches")

    def test_a_prompt_beyond_the_context(self):
        prompt = self.folder / "prompt"
        prompt.write_text("abcd " * 400)
        done = self.run_mxq("generate", self.model, "--prompt-file", prompt, "--tokens", "2")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("a prompt of 2000 tokens and 2 more are beyond the 128 that the model was made for", done.stderr.splitlines()[0])


if __name__ == "__main__":
    unittest.main()
