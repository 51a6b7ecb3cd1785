"""mxq tokenize: ids on standard output, from GGUF and from a checkpoint's tokenizer.json."""
import array
import json
import subprocess

from support import MXQ, SHARED, SMOLLM2, MxqTest, needs_shared, needs_smollm2


class Tokenize(MxqTest):
    def write(self, text):
        path = self.folder / "text"
        path.write_bytes(text)
        return path

    def model(self):
        """A folder with a tokenizer of bytes: a, b, c and ab."""
        folder = self.folder / "model"
        folder.mkdir()
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        tokenizer = {
            "added_tokens": [{"id": 4, "content": "<s>", "special": True}], "pre_tokenizer": level, "decoder": level,
            "post_processor": {"type": "TemplateProcessing",
                               "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
                               "special_tokens": {"<s>": {"id": "<s>", "ids": [4]}}},
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3}, "merges": ["a b"]}}
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        return folder

    def test_ids_on_one_line(self):
        model, text = self.model(), self.write(b"abcb")
        self.assertEqual(self.mxq("tokenize", model, "--text", text), "4 3 2 1\n")
        self.assertEqual(self.mxq("tokenize", model, "--text", text, "--no-bos"), "3 2 1\n")
        self.assertEqual(self.mxq_json("tokenize", model, "--text", text), {"ids": [4, 3, 2, 1], "tokens": 4})

    def test_standard_input(self):
        model = self.model()
        for text, ids in ((b"cab", "4 2 3\n"), (b"", "4\n")):
            done = subprocess.run([MXQ, "tokenize", model, "--text", "-"], input=text, capture_output=True)
            self.assertEqual((done.returncode, done.stdout.decode()), (0, ids), done.stderr)

    def test_errors(self):
        model, text = self.model(), self.write(b"ab\xffc")
        self.refuses("tokenize", model, "--text", text, says="byte 2 of the text is not UTF-8")
        self.refuses("tokenize", model, "--text", self.folder / "none", says="none")
        self.refuses("tokenize", self.folder / "none", "--text", text, says="none")
        self.refuses("tokenize", self.folder, "--text", text, says="no tokenizer.json")
        self.refuses("tokenize", model, status=2, says="--text")
        (model / "tokenizer.json").write_text('{"model": {"type": "WordPiece"}}')
        self.refuses("tokenize", model, "--text", text, says="the model is 'WordPiece'; expected BPE")

    @needs_shared
    def test_vocabularies_without_tensors(self):
        for name in ("llama-spm", "llama-bpe"):
            model = SHARED / f"data/tokenizers/ggml-vocab-{name}.gguf"
            texts = model.with_suffix(".gguf.inp").read_bytes().split(b"\n__ggml_vocab_test__\n")
            lines = model.with_suffix(".gguf.out").read_text().splitlines()
            longest = max(range(len(lines)), key=lambda i: len(lines[i]))
            ids = self.mxq("tokenize", model, "--text", self.write(texts[longest]), "--no-bos")
            self.assertEqual(ids.split(), lines[longest].split())

    @needs_shared
    @needs_smollm2
    def test_smollm2_gives_all_ids_of_wikitext(self):
        expected = array.array("i", (SHARED / "data/smollm2-reference/wikitext2-test-joined.i32").read_bytes())
        text = SHARED / "data/wikitext-2/test-joined.txt"
        self.assertEqual(self.mxq("tokenize", SMOLLM2, "--text", text), " ".join(map(str, expected)) + "\n")
        checkpoint = self.folder / "checkpoint"
        self.mxq("quantize", SMOLLM2, "--uniform", "b4g64", "--fit", "rtn", "--no-cache", "-o", checkpoint)
        self.assertEqual(self.mxq_json("tokenize", checkpoint, "--text", text)["ids"], expected.tolist())
