"""Folders for onnxruntime, run by the real onnxruntime and onnxruntime-genai on the CPU: their logits and text are those of mxq.

    python onnx_peer.py MXQ [MODEL...]     in the environment of scripts/setup.sh --onnx

Small models with a seed of every architecture that the format has (tests/data/tiny_decoders.json, biases, windows and tied embeddings among
them), each matrix in a scheme of its own; and MODEL, which also writes text. Of each,
- with inputs of MatMulNBits left in fp32 (accuracy_level 1 in the place of 4), logits of the whole text, of it in pieces through the cache,
  and in a batch beside a shorter text, equal mxq's of the same folder: within BOUND of the largest;
- as the folder is, with inputs rounded to 8 bits, they are within ROUNDED of them.
MODEL also writes, greedily: onnxruntime with inputs in fp32 gives the tokens of `mxq generate`; onnxruntime-genai those of onnxruntime, both
with inputs in 8 bits.
"""
import json
import pathlib
import sys
import tempfile

import numpy
import onnx
import onnxruntime
import onnxruntime_genai
from tiny_decoders import IDS, TEXT, call, read_logits, write_tiny

BOUND, ROUNDED = 2e-5, 0.3
PROMPT, TOKENS = "The capital of France is", 24
MODELS = {name: {} for name in (
    "llama2", "llama3", "llama_linear", "llama_yarn", "llama_bias", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "gemma3_usual", "phi3",
    "smollm3", "smollm3_usual", "olmo2", "granite", "glm4", "cohere2", "cohere2_usual")}
SCHEMES = {"q_proj": "b8g32", "k_proj": "b4g32", "v_proj": "b2g32", "o_proj": "b4g16", "up_proj": "b4g32", "down_proj": "b8g16",
           "qkv_proj": "b4g16", "gate_up_proj": "b2g32", "embed_tokens": "b8g32"}


def exact(folder):
    """The same folder's graph, with inputs of MatMulNBits in fp32; beside it, for the data's sake."""
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = 1
    onnx.save(model, folder / "exact.onnx")
    return folder / "exact.onnx"


class Session:
    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.caches = [value for value in self.session.get_inputs() if value.name.startswith("past_key_values.")]
        self.clear()

    def clear(self):
        self.length = 0
        self.past = {value.name: numpy.zeros((1, value.shape[1], 0, value.shape[3]), numpy.float32) for value in self.caches}

    def logits(self, ids):
        """Of the text's next tokens."""
        self.length += len(ids)
        logits, *present = self.session.run(None, {
            "input_ids": numpy.array([ids], numpy.int64), "attention_mask": numpy.ones((1, self.length), numpy.int64), **self.past})
        self.past = dict(zip(self.past, present))
        return logits[0]

    def whole(self, ids):
        self.clear()
        return self.logits(ids)

    def in_pieces(self, ids):
        """A few at first, then some more, then one by one."""
        self.clear()
        cuts = [0, 5, 9, *range(10, len(ids) + 1)]
        return numpy.concatenate([self.logits(ids[begin:end]) for begin, end in zip(cuts, cuts[1:])])


    def padded(self, ids, shorter):
        """Of both texts in one batch, the shorter one padded on the right; of the latter what belongs to it."""
        rows = numpy.array([ids, shorter + [0] * (len(ids) - len(shorter))], numpy.int64)
        mask = numpy.array([[1] * len(ids), [1] * len(shorter) + [0] * (len(ids) - len(shorter))], numpy.int64)
        past = {value.name: numpy.zeros((2, value.shape[1], 0, value.shape[3]), numpy.float32) for value in self.caches}
        logits = self.session.run(["logits"], {"input_ids": rows, "attention_mask": mask, **past})[0]
        return logits[0], logits[1][: len(shorter)]


def apart(found, wanted):
    return float(numpy.abs(found[: len(wanted)] - wanted).max() / numpy.abs(wanted).max())


def logits_of_mxq(mxq, folder, text):
    kept = folder.with_name(folder.name + ".logits")
    call(mxq, "-q", "eval", folder, "--against", folder, "--base-logits", kept, "--text", text)
    return read_logits(kept)


def check(label, folder, mxq, text, ids, wrong):
    wanted = logits_of_mxq(mxq, folder, text)
    session = Session(exact(folder))
    longer, shorter = session.padded(ids, ids[:7])
    one, pieces, batch, rounded = (apart(found, wanted) for found in (
        session.whole(ids), session.in_pieces(ids), longer, Session(folder / "model.onnx").whole(ids)))
    batch = max(batch, apart(shorter, wanted[:7]))
    good = max(one, pieces, batch) < BOUND and rounded < ROUNDED and len(wanted) >= len(ids) - 1
    print(f"{'   ' if good else '!! '}{label}: logits apart by {one:.1e} of the largest, in pieces {pieces:.1e}, in a batch {batch:.1e}, "
          f"with inputs in 8 bits {rounded:.1e}", flush=True)
    if not good:
        wrong.append(label)


def tiny_models(mxq, wrong):
    for name, fields in MODELS.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            tensors = write_tiny(folder / "model", name, fields)
            (folder / "text.txt").write_text(TEXT)
            pins = [f"--pin={part}={scheme}" for part, scheme in SCHEMES.items() if any(f".{part}." in t for t in tensors)]
            call(mxq, "quantize", folder / "model", "--format", "onnx", "--bits", 7.9, *pins, "--schemes", "b4g16,b8g16,b2g32,b4g32,b8g32", "--objective",
                 "rel", "--fit", "mse", "-o", folder / "out", "-q")
            check(name, folder / "out", mxq, folder / "text.txt", IDS, wrong)


def greedy(session, ids, count, ends):
    """The likeliest tokens behind `ids`, and the logits that each was chosen by."""
    tokens, chosen_by = [], []
    logits = session.whole(ids)[-1]
    while len(tokens) < count:
        chosen_by.append(logits)
        tokens.append(int(logits.argmax()))
        if tokens[-1] in ends:
            break
        logits = session.logits(tokens[-1:])[-1]
    return tokens, chosen_by


def genai_greedy(folder, ids, count):
    model = onnxruntime_genai.Model(str(folder))
    tokenizer = onnxruntime_genai.Tokenizer(model)
    tokenizer.update_options(add_special_tokens="true")
    found = [int(i) for i in tokenizer.encode(PROMPT)]
    parameters = onnxruntime_genai.GeneratorParams(model)
    parameters.set_search_options(max_length=len(ids) + count)
    generator = onnxruntime_genai.Generator(model, parameters)
    generator.append_tokens(ids)
    tokens = []
    while not generator.is_done() and len(tokens) < count:
        generator.generate_next_token()
        tokens.append(int(generator.get_next_tokens()[0]))
    return found, tokens


def real_model(mxq, source, wrong):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        out, text, prompt = folder / "out", folder / "text.txt", folder / "prompt.txt"
        call(mxq, "quantize", source, "--format", "onnx", "--bits", 6, "--objective", "rel", "--fit", "mse", "-o", out, "-q")
        text.write_text("Gravity is the force by which a planet or other body draws objects toward its centre.")
        prompt.write_text(PROMPT)
        ids, asked = ([int(i) for i in call(mxq, "tokenize", out, "--text", file).split()] for file in (text, prompt))
        check(source.name, out, mxq, text, ids, wrong)
        written = json.loads(call(mxq, "generate", out, "--prompt-file", prompt, "--tokens", TOKENS, "--json", "-q"))
        ends = json.loads((out / "genai_config.json").read_text())["model"]["eos_token_id"]
        ends = ends if isinstance(ends, list) else [ends]
        wanted = written["ids"]
        found, logits = greedy(Session(out / "exact.onnx"), asked, TOKENS, ends)
        if found[: len(wanted)] != wanted or len(found) > len(wanted) + 1:
            wrong.append(f"tokens of {source.name}: onnxruntime {found}, mxq {wanted}")
        # Rounded inputs may change a token that is hardly likelier than another.
        rounded, _ = greedy(Session(out / "model.onnx"), asked, TOKENS, ends)
        same = next((i for i, (a, b) in enumerate(zip(rounded, found)) if a != b), min(len(rounded), len(found)))
        if same < min(len(rounded), len(found)):
            scores = logits[same]
            if scores[found[same]] - scores[rounded[same]] > ROUNDED * numpy.abs(scores).max():
                wrong.append(f"tokens of {source.name} with inputs in 8 bits: {rounded}, without {found}")
        prompt_ids, theirs = genai_greedy(out, asked, TOKENS)
        if prompt_ids != asked:
            wrong.append(f"ids of {source.name}: onnxruntime-genai has {prompt_ids}, mxq {asked}")
        if theirs[: len(rounded)] != rounded[: len(theirs)] or len(theirs) < len(rounded) - 1:
            wrong.append(f"tokens of {source.name}: onnxruntime-genai {theirs}, onnxruntime {rounded}")
        print(f"   writes: {PROMPT}{written['text']!r}; with inputs in 8 bits {same} of {len(found)} tokens are the same", flush=True)


def main():
    wrong = []
    tiny_models(sys.argv[1], wrong)
    for source in sys.argv[2:]:
        real_model(sys.argv[1], pathlib.Path(source), wrong)
    if wrong:
        sys.exit("\n".join(["wrong:", *wrong]))


if __name__ == "__main__":
    main()
