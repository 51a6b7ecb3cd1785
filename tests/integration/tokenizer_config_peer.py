"""Compares `mxq tokenize` with AutoTokenizer of transformers over generated tokenizer files.

    python tokenizer_config_peer.py MXQ [--count N] [--seed S] [--keep FOLDER]

Each case is a folder with tokenizer.json and files beside it: classes, add_bos_token, add_eos_token, templates, prefix
spaces, added tokens with all flags, named in one file or another. mxq must give AutoTokenizer's ids, or refuse the
folder; it may refuse only what is on the list below, or what transformers refuses. Exit 1 where anything differs.
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

os.environ["HF_HUB_OFFLINE"] = "1"
import transformers

transformers.logging.set_verbosity(transformers.logging.CRITICAL)

CLASSES = ["PreTrainedTokenizerFast", "LlamaTokenizer", "LlamaTokenizerFast", "GemmaTokenizer", "CohereTokenizerFast",
           "GPTNeoXTokenizerFast", "GPT2Tokenizer", "Qwen2Tokenizer", "CodeGenTokenizer", "BloomTokenizerFast", None]
MODEL_TYPES = ["llama", "mistral", "qwen2", "gpt2", "gpt_neox", "gemma", "phi", "cohere", "bloom", "smollm3", "olmo2"]
WORDS = ["the", " cat", "s", " sat", "\n", "é", "e\u0301", "  ", "\t", "12", "x_y", "日本", "!", "<m>", "<m> ", " <m>", "<s>",
         "</s>", "<sep>", "a<sep>b", "<w>", "a<w>", "<w>_", "<NORM>", "\u3000", "<unk>", "<extra>", "İ", "😀", "ab", "bos"]
# What mxq refuses although transformers does not.
MAY_REFUSE = ["'add_prefix_space' is ", "a pre_tokenizer", "the pre_tokenizer is "]


def alphabet():
    import tokenizers
    return sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())


def token(random, content, **said):
    flags = {name: random.random() < 0.25 for name in ("lstrip", "rstrip", "single_word", "normalized", "special")}
    return {"content": content, **flags, **said}


def byte_level(random):
    """A byte-level BPE with some merges."""
    vocab = {c: i for i, c in enumerate(alphabet())}
    merges = []
    for left, right in ("th", "he", "at", "Ġc", "Ġs", "ab"):
        merges.append([left, right])
        vocab[left + right] = len(vocab)
    for left, right in (("th", "e"), ("Ġc", "at"), ("Ġs", "at")):
        merges.append([left, right])
        vocab[left + right] = len(vocab)
    if random.random() < 0.2:
        merges.append(["t", "h"])  # twice: the last counts
    level = {"type": "ByteLevel", "add_prefix_space": random.random() < 0.3, "trim_offsets": True,
             "use_regex": random.random() < 0.8}
    pre = level
    if random.random() < 0.4:
        pre = {"type": "Sequence", "pretokenizers": [random.choice([
            {"type": "Digits", "individual_digits": random.random() < 0.5},
            {"type": "Split", "pattern": {"Regex": r"\s+|\p{L}+"}, "behavior": random.choice(
                ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]),
             "invert": random.random() < 0.5},
            {"type": "Whitespace"}, {"type": "WhitespaceSplit"}, {"type": "CharDelimiterSplit", "delimiter": "t"}]),
            level]}
    normalizer = random.choice([None, None, None, {"type": "NFC"}, {"type": "NFKC"}, {"type": "NFD"}, {"type": "NFKD"},
                                {"type": "Lowercase"}, {"type": "Strip", "strip_left": True, "strip_right": False},
                                {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}]},
                                {"type": "Replace", "pattern": {"Regex": "t+|[0-9]"}, "content": "ab"}])
    model = {"type": "BPE", "dropout": random.choice([None, 0.0]), "unk_token": None,
             "continuing_subword_prefix": random.choice([None, ""]), "end_of_word_suffix": None, "fuse_unk": False,
             "byte_fallback": False, "ignore_merges": random.random() < 0.3, "vocab": vocab, "merges": merges}
    return {"normalizer": normalizer, "pre_tokenizer": pre, "decoder": dict(level), "model": model}


def sentencepiece(random):
    """A BPE of characters with byte fallback, or with an unknown token."""
    fallback = random.random() < 0.6
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for byte in range(256) if fallback else ():
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    for c in "▁abcehstxmu<>/_":
        vocab[c] = len(vocab)
    merges = []
    for left, right in (("t", "h"), ("th", "e"), ("▁", "c"), ("a", "t"), ("▁c", "at"), ("▁", "the"), ("▁", "▁")):
        vocab[left + right] = len(vocab)
        merges.append([left, right])
    scheme = random.choice(["always", "first", "never"])
    normalizer = pre = None
    if random.random() < 0.5:
        pre = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": random.random() < 0.5}
    else:
        steps = [{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
        if scheme != "never":
            steps.insert(0, {"type": "Prepend", "prepend": "▁"})
        normalizer = {"type": "Sequence", "normalizers": steps}
    decoder = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    model = {"type": "BPE", "dropout": None, "unk_token": random.choice(["<unk>", None]), "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": random.random() < 0.5, "byte_fallback": fallback,
             "ignore_merges": random.random() < 0.2, "vocab": vocab, "merges": merges}
    return {"normalizer": normalizer, "pre_tokenizer": pre, "decoder": decoder, "model": model}


def post_processor(random, ids):
    special = lambda name: {"SpecialToken": {"id": name, "type_id": 0}}
    text = lambda name: {"Sequence": {"id": name, "type_id": 0}}
    names = {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in ("<s>", "</s>")}
    before = random.choice([[], [special("<s>")], [special("<s>"), special("</s>")]])
    after = random.choice([[], [], [special("</s>")]])
    template = {"type": "TemplateProcessing", "single": before + [text("A")] + after,
                "pair": [text("A"), text("B")], "special_tokens": names}
    return random.choice([None, template, template, {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}, template]},
        {"type": random.choice(["RobertaProcessing", "BertProcessing"]), "sep": ["</s>", ids["</s>"]],
         "cls": ["<s>", ids["<s>"]], **({})}])


def make(seed, folder):
    """The files of one case."""
    chance = random.Random(seed)
    parts = byte_level(chance) if chance.random() < 0.6 else sentencepiece(chance)
    vocab = parts["model"]["vocab"]
    added = [token(chance, "<s>", special=True), token(chance, "</s>", special=chance.random() < 0.8)]
    added += [token(chance, name) for name in ("<m>", "<w>", "<NORM>", "the") if chance.random() < 0.4]
    ids = dict(vocab)
    for t in added:
        t["id"] = ids.setdefault(t["content"], len(ids))
    post = post_processor(chance, ids)
    if post and post["type"] == "RobertaProcessing":
        post.update(trim_offsets=True, add_prefix_space=True)
    document = {"version": "1.0",
                "truncation": chance.choice([None, {"direction": "Right", "max_length": 5, "strategy": "LongestFirst",
                                                    "stride": 0}]),
                "padding": None, "added_tokens": added, **parts, "post_processor": post}
    (folder / "tokenizer.json").write_text(json.dumps(document))

    config = {}
    if (name := chance.choice(CLASSES)) is not None:
        config["tokenizer_class"] = name
    for key, values in (("add_bos_token", [True, False]), ("add_eos_token", [True, False, False]),
                        ("bos_token", ["<s>", "<s>", None, "<new>"]), ("eos_token", ["</s>", "</s>", None]),
                        ("unk_token", ["<unk>", None]), ("pad_token", ["<pad>", "</s>", None]),
                        ("add_prefix_space", [True, False, None]), ("legacy", [True, False]),
                        ("split_special_tokens", [False, False, True]), ("clean_up_tokenization_spaces", [True, False])):
        if chance.random() < 0.5:
            config[key] = chance.choice(values)
    as_token = lambda content: {"__type": "AddedToken", **token(chance, content)}
    if config.get("bos_token") and chance.random() < 0.3:
        config["bos_token"] = as_token(config["bos_token"])
    if chance.random() < 0.3:
        config["additional_special_tokens"] = chance.sample(["<sep>", "<m>", "bos"], 2)
        if chance.random() < 0.5:
            config["additional_special_tokens"][0] = as_token("<sep>")
    if chance.random() < 0.2:
        config["extra_special_tokens"] = {"image_token": "<extra>"}
    if chance.random() < 0.5:
        mine = [{k: v for k, v in t.items() if k != "id"} for t in added] + [token(chance, "<sep>"), token(chance, "é")]
        numbers = [t["id"] for t in added] + [len(ids) + 3, len(ids) + 1]
        chosen = [i for i in range(len(mine)) if chance.random() < 0.8]
        if chance.random() < 0.3:
            for i in chosen:
                mine[i] = token(chance, mine[i]["content"])
        config["added_tokens_decoder"] = {str(numbers[i]): mine[i] for i in chosen}
    elif chance.random() < 0.5:
        special = {"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False, "rstrip": True,
                                                     "normalized": False, "single_word": False}}
        (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps({"model_type": chance.choice(MODEL_TYPES)}))
    texts = ["".join(chance.choice(WORDS) for _ in range(chance.randrange(1, 12))) for _ in range(3)] + [""]
    for i, text in enumerate(texts):
        (folder / f"text{i}.txt").write_text(text)
    return texts


def expected(folder, texts):
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        return [tokenizer(text)["input_ids"] for text in texts]
    except BaseException as error:  # the package panics at some files
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {error}"


def golden_text(cases):
    """JSON with a case a line; each vocabulary is there once, and its place stands for it."""
    vocabularies = []
    for case in cases:
        model = case["files"]["tokenizer.json"]["model"]
        if model["vocab"] not in vocabularies:
            vocabularies.append(model["vocab"])
        model["vocab"] = vocabularies.index(model["vocab"])
    dump = lambda value: json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    lines = ",\n".join(map(dump, cases))
    return f'{{"vocabularies":{dump(vocabularies)},\n"cases":[\n{lines}\n]}}\n'


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mxq")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=pathlib.Path, help="leave the cases that differ here")
    parser.add_argument("--golden", type=pathlib.Path, help="write the cases and their ids here, for unit tests")
    arguments = parser.parse_args()
    equal = refused = both = wrong = 0
    golden = []
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(2) as pool:
        for number in range(arguments.count):
            folder = pathlib.Path(temporary) / str(number)
            folder.mkdir()
            texts = make(arguments.seed * 1_000_000 + number, folder)
            runs = list(pool.map(lambda i: subprocess.run(
                [arguments.mxq, "tokenize", folder, "--text", folder / f"text{i}.txt"], capture_output=True, text=True),
                range(len(texts))))
            want = expected(folder, texts)
            failures = [run.stderr.strip() for run in runs if run.returncode]
            got = [[int(x) for x in run.stdout.split()] for run in runs]
            if isinstance(want, str):
                both += 1
                if not failures:
                    print(f"case {number}: transformers says {want.splitlines()[0][:150]}; mxq takes it")
                continue
            may_refuse = failures and any(says in failures[0] for says in MAY_REFUSE)
            if arguments.golden and not may_refuse:
                files = {f.name: json.loads(f.read_text()) for f in sorted(folder.glob("*.json"))}
                golden.append({"files": files, "texts": texts, "ids": want})
            if may_refuse:
                refused += 1
            elif got == want:
                equal += 1
            else:
                wrong += 1
                print(f"case {number}: WRONG", failures[:1] or [(t, g, w) for t, g, w in zip(texts, got, want) if g != w][0])
                print("   ", (folder / "tokenizer_config.json").read_text())
                if arguments.keep:
                    arguments.keep.mkdir(parents=True, exist_ok=True)
                    subprocess.run(["cp", "-r", folder, arguments.keep / str(number)], check=True)
    if arguments.golden:
        arguments.golden.write_text(golden_text(golden))
    print(f"{equal} equal, {refused} refused by mxq, {both} by transformers, {wrong} wrong")
    if wrong or equal < arguments.count // 3:
        sys.exit(1)


if __name__ == "__main__":
    main()
