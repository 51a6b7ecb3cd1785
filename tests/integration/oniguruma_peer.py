"""Compares how mxq splits texts by generated patterns with Oniguruma in the package tokenizers.

    python oniguruma_peer.py MXQ [--count N] [--seed S]

mxq must give the package's ids, or refuse the pattern by name. Exit 1 where anything differs.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import tokenizers

FIXED = [r"^a", r"a$", r"a{1,2}+", r"\h", r"\H+", r"a{2}?", r"(?m).", r".+", r"(?m:.)+", r"\w+", r"\W", r"\d", r"\D+", r"\s+",
         r"\b", r"\B", r"\R", r"\N+", r"\O", r"\A.", r".\z", r".\Z", r"[[:alpha:]]+", r"[[:^alpha:]]", r"[[:punct:]]", r"[a-z&&[^b]]",
         r"[a[bc]]+", r"[^a[bc]]", r"[[^a]&&\w]", r"(?i:b)", r"(?i)a|b", r"a(?i)b|c", r"\p{L}", r"\p{^L}", r"\P{L}", r"\p{Han}",
         r"\p{Latin}+", r"\p{Letter}", r"\p{Alpha}+", r"(?<=a)b", r"(?<!a)b", r"(?=b)", r"(?>a+)b", r"(?<x>a)b", r"a++", r"a*+b",
         r"a??", r"a**", r"a{,2}", r"a{", r"[]a]", r"[a-]", r"\x61", r"\x{62}", r"\u0063", r"\t", r"\v", r"(?x) a b # c", r"(?#c)a",
         r"\Ga", r"a\Kb", r"\X", r"(?~ab)", r"(a)\1", r"\p{Word}", r"[\w&&\d]", r"[[:word:]]", r"(?i:ss)", r"(?-m:.)", "é+",
         r"\n^", r"$", r"^", r"a|", r"[^\n]+", r"[\h]+", r"\p{Upper}", r"\p{Lu}", r"[\p{Lu}\d]", r"a{2,}+", r"(a|b){2}+"]
ATOMS = ["a", "b", "é", ".", r"\w", r"\d", r"\s", r"\h", r"\W", r"\S", r"\p{L}", r"\p{N}", "[ab]", "[^a]", "[a-c&&[^b]]", r"[\w&&[^\d]]",
         "[[:digit:]]", "(?i:b)", "(?=a)", "(?!b)", "(?<=a)", r"\b", "^", "$", r"\n", "(?:a|bc)", "(?>a|ab)", "(?m:.)", r"\R"]
REPEATS = ["", "", "", "*", "+", "?", "+?", "*+", "{1,2}", "{2}", "{1,2}+", "{2}?", "{,2}", "{1,}", "{1,}?"]
LETTERS = "aaabbcAB1 2\n\n\r\té_ß٣日本-.\u0301\u00a0\u180e\u200d\u2028ſK"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mxq")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    patterns = FIXED + ["".join(chance.choice(ATOMS) + chance.choice(REPEATS) for _ in range(chance.randrange(1, 4)))
                        for _ in range(arguments.count)]
    vocab = {c: i for i, c in enumerate(sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()))}
    vocab["<|>"] = len(vocab)
    equal = refused = wrong = neither = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for pattern in patterns:
            text = "".join(chance.choice(LETTERS) for _ in range(60))
            # A blank before each piece shows where the text was cut.
            level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False}
            document = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}, level]},
                        "post_processor": None, "decoder": level,
                        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                                  "ignore_merges": False, "vocab": vocab, "merges": []}}
            (folder / "tokenizer.json").write_text(json.dumps(document))
            (folder / "text.txt").write_bytes(text.encode())
            run = subprocess.run([arguments.mxq, "tokenize", folder, "--text", folder / "text.txt"], capture_output=True,
                                 text=True)
            try:
                want = tokenizers.Tokenizer.from_str(json.dumps(document)).encode(text).ids
            except Exception as error:
                neither += 1
                if run.returncode == 0:
                    print(f"{pattern!r}: the package says {error}; mxq takes it")
                continue
            if run.returncode:
                refused += 1
                print(f"{pattern!r}: refused, {run.stderr.strip()[-150:]}")
            elif [int(x) for x in run.stdout.split()] == want:
                equal += 1
            else:
                wrong += 1
                print(f"{pattern!r}: WRONG for {text!r}")
    print(f"{equal} equal, {refused} refused by mxq, {neither} by the package, {wrong} wrong")
    if wrong or equal < len(patterns) // 2:
        sys.exit(1)


if __name__ == "__main__":
    main()
