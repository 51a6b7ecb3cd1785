"""Compares the tokenizer files that mxq rebuilds from GGUF with what the models' own tokenizers gave.

    python tokenizer_peer.py GGUF_TOKENIZER SHARED_DATA [SMOLLM2_GGUF]

GGUF_TOKENIZER is the program built from gguf_tokenizer.cc, SHARED_DATA the folder with tokenizers/, wikitext-2/ and
smollm2-reference/. Needs the packages tokenizers, transformers and numpy. Exit 1 at the first difference.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy
import tokenizers
import transformers

SEPARATOR = "\n__ggml_vocab_test__\n"


def unpack(program: str, model: pathlib.Path, folder: pathlib.Path) -> tokenizers.Tokenizer:
    subprocess.run([program, str(model), str(folder)], check=True)
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def compare_pairs(tokenizer: tokenizers.Tokenizer, model: pathlib.Path) -> None:
    """The text of each pair gives the expected ids, and the ids give the text again."""
    texts = pathlib.Path(f"{model}.inp").read_bytes().decode().split(SEPARATOR)
    assert texts.pop() == ""  # after the last separator
    lines = pathlib.Path(f"{model}.out").read_text().splitlines()
    wrong = 0
    for text, line in zip(texts, lines, strict=True):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if ids != [int(word) for word in line.split()]:
            wrong += 1
            print(f"  {text!r}: {ids}, expected {line}")
        if tokenizer.decode(ids) != text:
            wrong += 1
            print(f"  {text!r} decodes to {tokenizer.decode(ids)!r}")
    assert wrong == 0, f"{wrong} of {len(texts)} pairs differ"
    print(f"{model.name}: {len(texts)} pairs equal")


def check_transformers(folder: pathlib.Path, text: str) -> transformers.PreTrainedTokenizerBase:
    """AutoTokenizer loads the folder and agrees with tokenizer.json."""
    auto = transformers.AutoTokenizer.from_pretrained(folder)
    plain = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert auto(text)["input_ids"] == plain.encode(text).ids
    return auto


def main() -> None:
    program, shared = sys.argv[1], pathlib.Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for name, bos in (("llama-spm", 1), ("llama-bpe", 128000)):
            model = shared / "tokenizers" / f"ggml-vocab-{name}.gguf"
            compare_pairs(unpack(program, model, folder / name), model)
            auto = check_transformers(folder / name, "Hello, world")
            assert auto("Hello")["input_ids"][0] == bos == auto.bos_token_id
        if len(sys.argv) > 3:
            tokenizer = unpack(program, pathlib.Path(sys.argv[3]), folder / "smollm2")
            text = (shared / "wikitext-2/test-joined.txt").read_bytes().decode()
            expected = numpy.fromfile(shared / "smollm2-reference/wikitext2-test-joined.i32", dtype="<i4")
            ids = numpy.array(tokenizer.encode(text, add_special_tokens=False).ids, dtype=numpy.int32)
            assert ids.shape == expected.shape and (ids == expected).all(), (ids.shape, expected.shape)
            print(f"SmolLM2: all {len(ids)} ids of WikiText-2 equal")
            auto = check_transformers(folder / "smollm2", "<|im_start|>user\nHello<|im_end|>")
            chat = auto.apply_chat_template([{"role": "user", "content": "Hi"}], add_generation_prompt=True)
            assert chat[0] == 1 and auto.eos_token == "<|im_end|>"


if __name__ == "__main__":
    main()
