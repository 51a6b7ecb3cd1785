"""Compares mxq's ids with the package tokenizers': every rule for words that GGUF files name, and Unigram models.

    python tokenizer_rules_peer.py MXQ [--gguf-tokenizer PROGRAM] [--shared DATA] [--count N] [--seed S] [--golden FILE]

N random texts for each tokenizer (2,000). The vocabularies are trained here from random texts, so that merges reach across
every place where a rule cuts. RULES has what the families' own tokenizer.json say; where a family has none, or none that is
known, llama.cpp's expressions. PROGRAM is built from gguf_tokenizer.cc: the tokenizer.json that mxq rebuilds must give the
same ids. DATA has tokenizers/ggml-vocab-*.gguf, which are compared in the same way. --golden writes a small fixture for
tokenizer_test.cc instead. Exit 1 where anything differs.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

import gguf
import tokenizers

SEPARATOR = "<|sep|>"
GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
LEVEL = GPT2 | {"use_regex": False}
DIGITS = {"type": "Digits", "individual_digits": True}
NFC, NFKC = {"type": "NFC"}, {"type": "NFKC"}


def split(regex, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
ENDS = r"\s*[\r\n]+|\s+(?!\S)|\s+"


def cl100k(numbers, letters=r"\p{L}+", signs=r" ?[^\s\p{L}\p{N}]+[\r\n]*"):
    return rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?{letters}|{numbers}|{signs}|{ENDS}"


def o200k(numbers, contractions=CONTRACTIONS + "?", signs=r" ?[^\s\p{L}\p{N}]+[\r\n/]*", but=""):
    upper, lower = rf"[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}{but}]", rf"[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}{but}]"
    before = r"[^\r\n\p{L}\p{N}]?"
    return f"{before}{upper}*{lower}+{contractions}|{before}{upper}+{lower}*{contractions}|{numbers}|{signs}|{ENDS}"


# The cased letters, as Unicode 11 has them, without those of mathematics.
CASED = ("A-Za-z\xb5\xc0-\xd6\xd8-\xf6\xf8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f"
         "\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5"
         "\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45"
         "\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc"
         "\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126"
         "\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee"
         "\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17"
         "\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2"
         "\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943")
SIGNS = "!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002"
OLD_CJK = split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+")
CJK = split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+")
BLOOM = split(" ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+")
V3_WORDS = split("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
                 " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")
NO_SPLIT = None  # tokens are text

# name: (normalizer, pre_tokenizers, ignore_merges)
GPT2_RULE = (None, [GPT2], False)
DIGITS_RULE = (None, [DIGITS, GPT2], False)
CL100K = [split(cl100k(r"\p{N}{1,3}")), LEVEL]
QWEN2 = [split(cl100k(r"\p{N}")), LEVEL]
O200K = [split(o200k(r"\p{N}{1,3}")), LEVEL]
BAILING = (NFC, [split(r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"),
                 LEVEL], False)
V3 = (None, [split(r"\p{N}{1,3}"), CJK, V3_WORDS, LEVEL], False)
COHERE = (None, [split(r"\d{1,3}(?=(?:\d{3})*\b)"), *O200K], False)
BLOOM_RULE = (None, [BLOOM, LEVEL], False)
RULES = {
    "default": (None, [split(r"[\p{P}\$\+<=>\^~\|]+"), split(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"),
                       split(r"\p{N}+"), split("[0-9][0-9][0-9]"), LEVEL], False),
    **{name: GPT2_RULE for name in ("gpt-2", "phi-2", "jais", "trillion", "gigachat", "mellum", "granite-docling", "a.x-4.0", "exaone4")},
    **{name: (NFC, [GPT2], False) for name in ("mpt", "olmo")},
    **{name: DIGITS_RULE for name in ("smollm", "starcoder", "refact", "codeshell", "minerva-7b", "mellum2")},
    "command-r": (NFC, [DIGITS, GPT2], False),
    "exaone": (NFKC, [DIGITS, GPT2], False),
    **{name: (None, CL100K, True) for name in ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
                                               "smaug-bpe", "glm4", "chatglm-bpe")},
    "dbrx": (None, [split(cl100k(r"\p{N}{1,3}"), "Removed", True), LEVEL], False),
    **{name: (NFC, QWEN2, False) for name in ("qwen2", "deepseek-r1-qwen", "f2llmv2", "stablelm2", "hunyuan")},
    **{name: (None, QWEN2, False) for name in ("kormo", "megrez", "grok-2", "solar-open")},
    "qwen35": (NFC, [split(cl100k(r"\p{N}", r"[\p{L}\p{M}]+", r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*")), LEVEL], False),
    "laguna": (None, [split(r"(?:\r?\n)+(?!\r?\n)", "MergedWithNext"), *QWEN2], False),
    "seed-coder": (None, [split(cl100k(r"\p{N}{1}", signs=" ?[^\\s\\p{L}\\p{N}\r\n]+").replace(r"[\r\n]", "[\r\n]")), LEVEL], False),
    "minicpm5": (None, [split(r"\p{N}{1,3}"), split(cl100k(r"\p{N}+")), LEVEL], False),
    **{name: BAILING for name in ("bailingmoe", "bailingmoe2", "llada-moe")},
    "exaone-moe": (None, [split(rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}|"
                                r" ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"), LEVEL], False),
    "tekken": (None, [split(o200k(r"\p{N}", "")), LEVEL], True),
    **{name: (None, O200K, True) for name in ("gpt-4o", "llama4")},
    "kanana2": (None, O200K, False),
    "minimax-m2": (NFC, [split(o200k(r"\p{N}{1,3}"), "Removed", True), LEVEL], False),
    **{name: COHERE for name in ("tiny_aya", "cohere2moe")},
    "kimi-k2": (None, [split(r"[\p{Han}]+|" + o200k(r"\p{N}{1,3}", signs=r" ?[^\s\p{L}\p{N}]+[\r\n]*", but=r"&&[^\p{Han}]")), LEVEL], True),
    "youtu": (None, [split("[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f"
                           "\ufe30-\ufe4f]+|[\u3105-\u312f]+|[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
                     split(o200k(r"\p{N}")), LEVEL], True),
    "deepseek-llm": (None, [split("[\r\n]"), split(rf"\s?[{CASED}]+"), split(rf"\s?[{SIGNS}]+"), split(r"\s+$"), OLD_CJK, DIGITS, LEVEL],
                     False),
    "deepseek-coder": (None, [split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), OLD_CJK, DIGITS, LEVEL], False),
    **{name: V3 for name in ("deepseek-v3", "hunyuan-dense", "joyai-llm")},
    "afmoe": (None, [split(r"\p{N}{1,3}(?=(?:\p{N}{3})*(?:\P{N}|\z))"),
                     split("[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f"
                           "\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+"),
                     V3_WORDS, LEVEL], False),
    "falcon": (None, [{"type": "Punctuation", "behavior": "Contiguous"}, GPT2, {"type": "Digits", "individual_digits": False},
                      split("[0-9][0-9][0-9]")], False),
    **{name: BLOOM_RULE for name in ("bloom", "gpt3-finnish", "poro-chat")},
    "viking": (None, [BLOOM, DIGITS, LEVEL], False),
    "chameleon": (None, [split("<sentinel:[0-9]+>"), split("(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"), split(r"([\t\n]|    |  )"), DIGITS,
                         {"type": "Punctuation", "behavior": "Isolated"}, GPT2], False),
    "superbpe": (None, [split(r"\p{N}+"), split(r"(?=(\d{3})+(?!\d))"), LEVEL], False),
    **{name: NO_SPLIT for name in ("gemma4", "sarvam-moe")},
}

MARK = "\u2581"
METASPACE = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": True}


def replace(what, content, kind="String"):
    return {"type": "Replace", "pattern": {kind: what}, "content": content}


def sequence(of, items):
    return {"type": "Sequence", of: items} if items else None


# name: (normalizers, pre_tokenizers, byte_fallback)
UNIGRAM = {
    "SentencePieceUnigram of tokenizers": ([{"type": "Nmt"}, NFKC, replace(" {2,}", " ", "Regex")], [METASPACE], False),
    "XLNet without its table": ([replace("``", '"'), replace("''", '"'), {"type": "NFKD"}, {"type": "StripAccents"}],
                                [{"type": "WhitespaceSplit"}, METASPACE], False),
    "ALBERT without its table": ([{"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}],
                                 [{"type": "WhitespaceSplit"}, METASPACE], False),
    "DeBERTa without its table": ([{"type": "Strip", "strip_left": True, "strip_right": True}, replace(" {2,}", " ", "Regex")],
                                  [METASPACE], False),
    "llm-jp": ([replace(r"(?<!\n)^", MARK, "Regex"), replace(" ", MARK, "Regex")], [], True),
    "ruri": ([], [METASPACE | {"prepend_scheme": "never", "split": False}], True),
    "Metaspace at the beginning": ([], [METASPACE | {"prepend_scheme": "first"}], True),
    "digits and punctuation apart": ([NFC], [{"type": "Punctuation", "behavior": "Isolated"}, DIGITS, METASPACE], False),
}

# Assigned in the Unicode of PCRE2 10.42, which mxq builds with; later characters are no letters to it.
ASSIGNED = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
KINDS = ["abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", "0123456789", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", " ", " ", " ",
         "\n", "\r\n\t", "\x00\x01\x0b\x0c\x1c\x1f\x7f\x85\x8f\x9f\xa0\xad\u1680\u180e\u2003\u200b\u200c\u200d\u200e\u2028\u2029\u202f\u3000\ufeff\ufffd",
         "éèüßñçåøæœÿĳſKΩ", "мирдружбаЖЩЪЫЬЭЮЯ", "αβγδεζηθϊΰώΆΈΣς", "אבגדהוזחטיכלמנ", "ابتثجحخدذرزسش٠١٢٣٤", "नमस्तेहिन्दीकक्षा१२३", "ไทยภาษากำลัง๑๒",
         "日本語中国汉字漢龥一丁", "ひらがなカタカナー゛", "한국어가힣ㄱㅎ", "ㄅㄆㄇㄯ", "😀👍🏽👨‍👩‍👧❤️🚀", "\u0300\u0301\u0308\u0327\u0338\u0483\u064b\u093c\u3099", "²³¹¼½¾ⅫⅣ①㉑㊀𝟘𝟙",
         "，。、！？：；…“”‘’—〿（）", "ǅǆﬁﬃﬀＡｂ１℃™ª", "ᄀ까ᅢᆨ"]


def random_text(chance, rare=True):
    text = ""
    for _ in range(chance.randrange(1, 14)):
        draw = chance.random()
        if draw < 0.08:
            text += chance.choice(["'s", "'LL", "'Re", "'ſ", "n't", "<sentinel:12>", "IMGIMGABZ", "  ", "    ", "\n\n", "\r\n", " \n ", "e\u0301", "A\u030a",
                                   "``", "''", MARK, "1234567", "12,345.67", "a.b", "Hello world", "the the", "//\n", "I\n\n 1"])
        elif draw < 0.16 and rare:
            text += "".join(chance.choice(ASSIGNED) for _ in range(chance.randrange(1, 4)))
        else:
            kind = chance.choice(KINDS)
            text += "".join(chance.choice(kind) for _ in range(chance.randrange(1, 7)))
    return text


def joined(texts):
    return SEPARATOR.join(texts)


def document(model, normalizer, pre_tokenizer, decoder, separator):
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [{"id": separator, "content": SEPARATOR, "single_word": False, "lstrip": False, "rstrip": False,
                              "normalized": False, "special": True}],
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": None, "decoder": decoder, "model": model}


def bpe_model(vocabulary, merges, ignore_merges, **more):
    return {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "ignore_merges": ignore_merges, "vocab": vocabulary,
            "merges": [list(merge) for merge in merges]} | more


def train_bpe(texts, size, as_bytes):
    """A vocabulary and merges of texts that nothing cuts."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    pre = tokenizers.pre_tokenizers
    if as_bytes:
        tokenizer.pre_tokenizer = pre.ByteLevel(add_prefix_space=False, use_regex=False)
    else:
        tokenizer.normalizer = tokenizers.normalizers.Replace(" ", MARK)
    alphabet = sorted(pre.ByteLevel.alphabet()) if as_bytes else [MARK]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, limit_alphabet=max(len(alphabet), size // 3),
                                             show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    return tokens, [tuple(merge) for merge in model["merges"]]


def bpe_document(name, vocabularies):
    """The family's tokenizer.json, and what a GGUF file of it says: tokens, types, merges, model."""
    types = gguf.TokenType
    if RULES[name] is NO_SPLIT:
        tokens, merges = vocabularies["text"]
        tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *tokens, SEPARATOR]
        kinds = [types.UNKNOWN, *[types.BYTE] * 256, *[types.NORMAL] * (len(tokens) - 258), types.CONTROL]
        vocabulary = {token: i for i, token in enumerate(tokens[:-1])}
        model = bpe_model(vocabulary, merges, False, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
        pre = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
        decoder = sequence("decoders", [replace(MARK, " "), {"type": "ByteFallback"}, {"type": "Fuse"}])
        full = document(model, replace(" ", MARK), pre, decoder, len(tokens) - 1)
        full["added_tokens"].insert(0, full["added_tokens"][0] | {"id": 0, "content": "<unk>"})
        return full, tokens, kinds, merges, "gemma4" if name == "gemma4" else "gpt2"
    normalizer, steps, ignore_merges = RULES[name]
    tokens, merges = vocabularies["bytes"]
    tokens = [*tokens, SEPARATOR]
    model = bpe_model({token: i for i, token in enumerate(tokens[:-1])}, merges, ignore_merges)
    pre = steps[0] if len(steps) == 1 else sequence("pretokenizers", steps)
    full = document(model, normalizer, pre, GPT2, len(tokens) - 1)
    return full, tokens, [*[types.NORMAL] * (len(tokens) - 1), types.CONTROL], merges, "gpt2"


def write_gguf(path, name, tokens, kinds, merges, model):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(name)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_add_bos_token(False)
    if gguf.TokenType.UNKNOWN in kinds:
        writer.add_unk_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def train_unigram(texts, size):
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram())
    tokenizer.normalizer = tokenizers.normalizers.Replace(" ", MARK)
    trainer = tokenizers.trainers.UnigramTrainer(vocab_size=size, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return json.loads(tokenizer.to_str())["model"]["vocab"]


def unigram_documents(chance, texts, size, count_made):
    """A trained model with each kind of steps, and made-up ones whose scores are equal, or above zero, or have 17 digits."""
    trained = train_unigram([random_text(chance, rare=False) for _ in range(min(len(texts), 1000))], size)
    for name, settings in UNIGRAM.items():
        yield unigram_document(name, *settings, trained)
    for i in range(count_made):
        pieces = {MARK, *"abcde"} - {chance.choice("abcde")}
        for _ in range(60 if i % 2 else size // 4):
            text = chance.choice(texts).replace(" ", MARK)
            start = chance.randrange(len(text))
            pieces.add(text[start:start + chance.randrange(1, 5)])
        score = [lambda: -float(chance.randrange(1, 6)), lambda: chance.uniform(-12, 3), lambda: -chance.random() * 15][i % 3]
        name = list(UNIGRAM)[i % len(UNIGRAM)]
        vocabulary = [["<unk>", 0.0], *([piece, score()] for piece in sorted(pieces - {"<unk>"}))]
        yield unigram_document(f"made up {i}, {name}", *UNIGRAM[name], vocabulary)


def unigram_document(name, normalizers, steps, byte_fallback, vocabulary):
    if byte_fallback:
        known = {piece for piece, _ in vocabulary}
        vocabulary = vocabulary + [[f"<0x{byte:02X}>", -30.0] for byte in range(256) if f"<0x{byte:02X}>" not in known]
    model = {"type": "Unigram", "unk_id": 0, "vocab": vocabulary, "byte_fallback": byte_fallback}
    pre = steps[0] if len(steps) == 1 else sequence("pretokenizers", steps)
    decoder = sequence("decoders", [{"type": "ByteFallback"}, replace(MARK, " ", "Regex"), {"type": "Fuse"}, replace(r"(?<!\n)^ ", "", "Regex")])
    return name, document(model, sequence("normalizers", normalizers), pre, METASPACE if METASPACE in steps else decoder, len(vocabulary))


class Comparison:
    def __init__(self, mxq, texts, folder):
        self.mxq, self.texts, self.folder = mxq, texts, folder
        self.failures = 0
        self.text = folder / "text.txt"
        self.text.write_bytes(joined(texts).encode())

    def mxq_ids(self, model):
        run = subprocess.run([self.mxq, "tokenize", model, "--text", self.text, "--no-bos"], capture_output=True, text=True)
        return [int(word) for word in run.stdout.split()] if run.returncode == 0 else run.stderr.strip()

    def compare(self, name, model, want, separator):
        got = self.mxq_ids(model)
        if got == want:
            print(f"{name}: {len(self.texts)} texts, {len(want)} ids equal")
            return
        self.failures += 1
        if isinstance(got, str):
            print(f"{name}: REFUSED, {got}")
            return

        def apart(ids):
            parts = [[]]
            for i in ids:
                parts.append([]) if i == separator else parts[-1].append(i)
            return parts
        wrong = [(text, a, b) for text, a, b in zip(self.texts, apart(got), apart(want)) if a != b]
        print(f"{name}: WRONG for {len(wrong)} of {len(self.texts)} texts, such as {wrong[0] if wrong else 'none by itself'}")


def golden(path, seed):
    """Texts, vocabularies and ids. "same": the rule of that number before it; a number for a vocabulary: of vocabularies."""
    chance = random.Random(seed)
    training = [random_text(chance) for _ in range(600)]
    vocabularies = {"bytes": train_bpe(training, 256 + 220, True), "text": train_bpe(training, 200, False)}
    texts = [random_text(chance) for _ in range(12)] + ["12345's½м don't\r\n\r\n x  \n", "e\u0301ﬁ 日本1234567 (a.b)'LL", "!? \u3000I\n\n 1²"]
    cases, seen = [], {}
    for name, rule in RULES.items():
        key = json.dumps(rule)
        if key in seen:
            cases.append({"pre": name, "same": seen[key]})
            continue
        seen[key] = len(cases)
        full = bpe_document(name, vocabularies)[0]
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(full))
        cases.append({"pre": name, "ids": [tokenizer.encode(text).ids for text in texts]})
    unigram, pieces = [], []
    for name, full in unigram_documents(chance, training, 430, 12):
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(full))
        vocabulary = full["model"]["vocab"]
        if vocabulary not in pieces:
            pieces.append(vocabulary)
        full["model"]["vocab"] = pieces.index(vocabulary)
        unigram.append({"name": name, "file": full, "ids": [tokenizer.encode(text).ids for text in texts]})
    value = {"texts": texts, "bytes": vocabularies["bytes"], "text": vocabularies["text"], "rules": cases, "vocabularies": pieces,
             "unigram": unigram}
    path.write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mxq")
    parser.add_argument("--gguf-tokenizer")
    parser.add_argument("--shared", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--golden", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.golden:
        golden(arguments.golden, arguments.seed)
        return
    chance = random.Random(arguments.seed)
    training = [random_text(chance) for _ in range(6000)]
    vocabularies = {"bytes": train_bpe(training, 4000, True), "text": train_bpe(training, 3000, False)}
    texts = [random_text(chance) for _ in range(arguments.count)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        comparison = Comparison(arguments.mxq, texts, folder)
        for name in RULES:
            full, tokens, kinds, merges, model = bpe_document(name, vocabularies)
            write_gguf(folder / "model.gguf", name, tokens, kinds, merges, model)
            want = tokenizers.Tokenizer.from_str(json.dumps(full)).encode(joined(texts)).ids
            comparison.compare(f"tokenizer.ggml.pre {name}", folder / "model.gguf", want, len(tokens) - 1)
            (folder / "tokenizer.json").write_text(json.dumps(full))
            comparison.compare(f"tokenizer.json of {name}", folder / "tokenizer.json", want, len(tokens) - 1)
            if arguments.gguf_tokenizer:
                subprocess.run([arguments.gguf_tokenizer, folder / "model.gguf", folder / "rebuilt"], check=True)
                rebuilt = tokenizers.Tokenizer.from_file(str(folder / "rebuilt/tokenizer.json")).encode(joined(texts)).ids
                if rebuilt != want:
                    comparison.failures += 1
                    print(f"tokenizer.json rebuilt from GGUF of {name}: WRONG")
        for name, full in unigram_documents(chance, training, 800, 48):
            (folder / "tokenizer.json").write_text(json.dumps(full))
            want = tokenizers.Tokenizer.from_str(json.dumps(full)).encode(joined(texts)).ids
            comparison.compare(f"Unigram, {name}", folder / "tokenizer.json", want, len(full["model"]["vocab"]))
        for name in ("llama-spm", "llama-bpe") if arguments.shared and arguments.gguf_tokenizer else ():
            vocabulary = arguments.shared / f"tokenizers/ggml-vocab-{name}.gguf"
            subprocess.run([arguments.gguf_tokenizer, vocabulary, folder / "rebuilt"], check=True)
            tokenizer = tokenizers.Tokenizer.from_file(str(folder / "rebuilt/tokenizer.json"))
            want = tokenizer.encode(joined(texts), add_special_tokens=False).ids
            comparison.compare(f"{name}, as the package reads what mxq rebuilds", vocabulary, want, None)
    if comparison.failures:
        sys.exit(f"{comparison.failures} differ")


if __name__ == "__main__":
    main()
