"""A command opens the files of its model once, however many jobs it is made of."""
import ctypes
import os
import shutil
import struct
from collections import Counter
from pathlib import Path

from support import SMOLLM2, MxqTest, needs_smollm2, small_text_model

IN_OPEN = 0x20
TEXT = ("--calibration-tokens", "512", "--sample-tokens", "128")


class Opens:
    """Counts how often files of a folder are opened (inotify)."""

    def __init__(self, folder):
        libc = ctypes.CDLL(None, use_errno=True)
        self.queue = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.queue < 0 or libc.inotify_add_watch(self.queue, os.fsencode(folder), IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def count(self):
        found = Counter()
        while True:
            try:
                data = os.read(self.queue, 1 << 16)
            except BlockingIOError:
                os.close(self.queue)
                return found
            while data:
                _, mask, _, length = struct.unpack_from("iIII", data)
                assert not mask & 0x4000, "the queue ran over"
                found[data[16:16 + length].rstrip(b"\0").decode()] += 1
                data = data[16 + length:]


class Once(MxqTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        small_text_model(self.model, shards=2)

    def check(self, *command, files=2):
        opens = Opens(self.model)
        self.mxq(*command)
        weights = {name: n for name, n in opens.count().items() if name.endswith((".safetensors", ".gguf"))}
        self.assertEqual(len(weights), files)
        self.assertEqual(set(weights.values()), {1}, weights)

    def test_quantize(self):
        self.check("quantize", self.model, "-o", self.folder / "out", "--bits", "4", *TEXT)

    def test_max_loss(self):
        self.check("quantize", self.model, "-o", self.folder / "out", "--max-loss", "20%", *TEXT)

    def test_verify(self):
        self.check("quantize", self.model, "-o", self.folder / "out", "--bits", "4", "--verify", *TEXT)

    def test_other_commands(self):
        (self.folder / "text.txt").write_text("Gulls wheel over the pier. " * 40)
        for command in (("inspect",), ("measure", "--sensitivity", "-o", self.folder / "errors.csv", "--sample-tokens", "128"),
                        ("plan", "--bits", "4", *TEXT), ("eval", "--text", self.folder / "text.txt", "--window", "64"),
                        ("eval", "--self", "--tokens", "32"), ("generate", "--json", "--prompt", "Gulls", "--tokens", "3"),
                        ("dequantize", "-o", self.folder / "plain")):
            with self.subTest(command[0]):
                self.check(command[0], self.model, *command[1:])

    @needs_smollm2
    def test_gguf_whose_tokenizer_is_in_the_same_file(self):
        self.model = self.folder / "gguf"
        self.model.mkdir()
        file = Path(shutil.copy(SMOLLM2, self.model))
        self.check("tokenize", file, "--text", __file__, files=1)
        self.check("generate", file, "--json", "--prompt", "Gulls wheel", "--tokens", "2", files=1)
        self.check("eval", file, "--self", "--tokens", "16", "--sequences", "2", files=1)
