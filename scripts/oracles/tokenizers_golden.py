"""Trains small tokenizers with PyPI tokenizers and writes what the Go package is held to.

    python scripts/oracles/tokenizers_golden.py train  tokenizer/testdata   # *.tokenizer.json, from texts on this machine
    python scripts/oracles/tokenizers_golden.py golden tokenizer/testdata   # golden.json, ids of small texts
    python scripts/oracles/tokenizers_golden.py corpus DIR [--gguf FILE] [--kinds K,…]  # large texts and their ids, kept outside
    python scripts/oracles/tokenizers_golden.py speed  DIR                  # MB/s of the reference on these texts

Then: go test ./tokenizer -run TestCorpus -corpus DIR
"""

import argparse
import array
import glob
import hashlib
import json
import os
import random
import struct
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

import tokenizers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MINICPM5 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}+")
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
UP, LOW = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UP}*{LOW}+{SHORT}|[^\r\n\p{{L}}\p{{N}}]?{UP}+{LOW}*{SHORT}|\p{{N}}{{1,3}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = O200K.replace(SHORT, "").replace(r"\p{N}{1,3}", r"\p{N}")
DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


# ---------------------------------------------------------------- texts of this machine

def read(path):
    with open(path, "rb") as f:
        return f.read().decode("utf-8", "replace")


def gather(patterns, size):
    """Whole files in the order of their names, up to size bytes."""
    out, total = [], 0
    for p in patterns:
        for path in sorted(glob.glob(p, recursive=True)):
            if os.path.isfile(path) and total < size:
                out.append(read(path))
                total += len(out[-1].encode())
    return "".join(out).encode()[:size].decode("utf-8", "replace")


def english(size):
    moby = os.environ.get("MOBY", "models/moby-dick.txt")
    return gather([moby, "/usr/share/common-licenses/*", "/usr/share/vim/vim90/doc/*.txt"], size)


def python(size):
    return gather([os.path.dirname(os.__file__) + "/*.py"], size)


def golang(size):
    return gather(["/usr/local/go/src/net/http/*.go", "/usr/local/go/src/fmt/*.go"], size)


def translations(size):
    """Messages in Chinese, Japanese, Korean, Russian and others, from the catalogues of vim."""
    out = []
    for lang in ("zh_CN", "ja", "ko", "zh_TW", "ru", "uk", "fr", "tr", "vi"):
        for path in glob.glob(f"/usr/share/vim/vim90/lang/{lang}*/LC_MESSAGES/vim.mo"):
            with open(path, "rb") as f:
                data = f.read()
            if b"charset=UTF-8" not in data:
                continue
            _, _, n, _, at = struct.unpack_from("<5I", data)
            for k in range(1, n):
                long, start = struct.unpack_from("<2I", data, at + 8 * k)
                out.append(data[start : start + long].decode("utf-8", "replace").replace("\0", "\n"))
    random.Random(1).shuffle(out)
    return "\n".join(out).encode()[:size].decode("utf-8", "replace")


# ---------------------------------------------------------------- made-up texts

def cjk(r, size):
    blocks = [(0x4E00, 0x9FFF), (0x3041, 0x3096), (0x30A1, 0x30FA), (0xAC00, 0xD7A3), (0x3400, 0x4DBF), (0x20000, 0x2A6DF)]
    marks = "。、「」！？　\n 0９"
    out = []
    while sum(map(len, out[-1:])) >= 0 and len(out) < size // 3:
        lo, hi = blocks[min(int(r.expovariate(1)), 5)]
        out += [chr(r.randint(lo, hi)) for _ in range(r.randint(1, 12))]
        out.append(r.choice(marks))
    return "".join(out)


def emoji(r, size):
    base = [chr(c) for c in range(0x1F300, 0x1FAFF)] + list("☀☁☂☎☔☕♀♂⚕✈❤")
    out, n = [], 0
    while n < size:
        e = r.choice(base)
        k = r.random()
        if k < 0.2:
            e += chr(r.randint(0x1F3FB, 0x1F3FF))
        elif k < 0.4:
            e += "\u200d" + r.choice(base)
        elif k < 0.5:
            e += "\ufe0f"
        elif k < 0.6:
            e = chr(0x1F1E6 + r.randrange(26)) + chr(0x1F1E6 + r.randrange(26))
        elif k < 0.7:
            e = r.choice("0123456789#*") + "\ufe0f\u20e3"
        out.append(e + r.choice(["", "", " ", "  ", "ok", "\n", "!"]))
        n += len(out[-1].encode())
    return "".join(out)


def combining(r, size):
    base = "aeiounycAEIOU" + "".join(chr(c) for c in range(0x3B1, 0x3C9)) + "कखगதரกขक़ਖ਼ड়가각ᄀᄁ" + "éüñçâṩǭ"
    marks = [chr(c) for c in range(0x300, 0x36F)] + list("ְֱֲֳּׁ") + list("ًٌٍَُ") + list("़्ािแ้๊ᅡᅢᆨᆩ゙゚")
    newer = [chr(c) for c in (0x898, 0x8CA, 0x9FE, 0xC3C, 0x1ABF, 0x1AC5, 0x1DF6, 0x11930, 0x11935, 0x11938, 0x1E2AE)]
    out, n = [], 0
    while n < size:
        s = r.choice(base) + "".join(r.choice(marks) for _ in range(min(int(r.expovariate(0.8)), 6)))
        if r.random() < 0.05:
            s += r.choice(newer) + r.choice(marks)
        out.append(s + r.choice(["", "", "", " ", "'s", "1"]))
        n += len(out[-1].encode())
    return "".join(out)


def spaces(r, size):
    kinds = [" ", "\t", "\n", "\r", "\r\n", "\u00a0", "\u2003", "\u3000", "\u0085", "\u2028", "\v", "\f", "\u200b", "\u1680"]
    words = ["a", "The", "x1", "it's", "...", "é", "中", "9", "''", "/", "-"]
    out, n = [], 0
    while n < size:
        k = r.choice(kinds)
        out.append(k * min(int(r.expovariate(0.3)) + 1, 60) + r.choice(kinds) * r.randint(0, 2))
        if r.random() < 0.7:
            out.append(r.choice(words))
        n += len(out[-1].encode()) + len(out[-2 if len(out) > 1 else -1].encode())
    return "".join(out)


def noise(r, size):
    return r.randbytes(size).decode("utf-8", "replace")


def patterns(r, size):
    """What the patterns are about: contractions, digits, capitals, symbols, each next to each."""
    bits = ["'s", "'S", "'ſ", "'t", "'RE", "'re", "'ve", "'ll", "'LL", "'lL", "'d", "'", "’s", "1", "12", "1234567", "٣٤", "½", "Ⅷ",
            "a", "B", "Ab", "aB", "ABc", "ǅ", "ʰ", "ª", "中", "é", "e\u0301", "\u0301", "_", "-", "/", "//\n", "!?\r\n", ".", " ", "  ",
            "\n", "\n\n", "\t", "\u00a0", "<s>", "</s>", "<|im_start|>", "<|endoftext|>", "<tool_call>", "▁", "\u200d", "🙂", "𝒳", "𐐀", "ß"]
    out, n = [], 0
    while n < size:
        out.append(r.choice(bits))
        n += len(out[-1].encode())
    return "".join(out)


def every(_r, _size):
    """Every code point once alone, between letters, behind a space, and before a mark of a lower and a higher class."""
    out = []
    for c in range(0x110000):
        if not 0xD800 <= c <= 0xDFFF:
            ch = chr(c)
            out.append(f"a{ch}a1 {ch}{ch}\u0334\u0301'{ch}")
    return "".join(out)


def every_short():
    """Every code point of the first two planes and of the tags, every 37th of the others, in less company."""
    points = list(range(0x20000)) + list(range(0x20000, 0xE0000, 37)) + list(range(0xE0000, 0xE0200))
    points += range(0xE0200, 0x110000, 37)
    return "".join(f"a{chr(c)}a1{chr(c)}1 {chr(c)}\u0334\u0301'" for c in points if not 0xD800 <= c <= 0xDFFF)


# ---------------------------------------------------------------- training

SPECIALS = {
    "gpt2": ["<|endoftext|>"],
    "llama3": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "smollm2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>"],
    "sp": ["<unk>", "<s>", "</s>"],
    # Tokens that cross every boundary that a pattern could draw, so that a wrong boundary shows in the ids.
    "any": ["<|endoftext|>"],
    "sp-any": ["<unk>"],
}


def build(kind):
    t = Tokenizer(models.BPE())
    t.decoder = decoders.ByteLevel()
    split = lambda p: pre_tokenizers.Split(Regex(p), "isolated")
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if kind == "gpt2":
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif kind == "llama3":
        t.pre_tokenizer = pre_tokenizers.Sequence([split(LLAMA3), plain])
    elif kind == "qwen2":
        t.normalizer = normalizers.NFC()
        t.pre_tokenizer = pre_tokenizers.Sequence([split(QWEN2), plain])
    elif kind == "smollm2":
        t.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    elif kind == "any":
        t.pre_tokenizer = plain
    elif kind == "sp":
        t.pre_tokenizer = pre_tokenizers.Metaspace()
    elif kind == "sp-any":
        t.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    return t


def template(prefix, ids):
    single = [{"SpecialToken": {"id": p, "type_id": 0}} for p in prefix] + [{"Sequence": {"id": "A", "type_id": 0}}]
    pair = single + [{"Sequence": {"id": "B", "type_id": 1}}]
    special = {p: {"id": p, "ids": [ids[p]], "tokens": [p]} for p in prefix}
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}


def train(out):
    text = [english(900_000), python(500_000), golang(300_000), translations(500_000), combining(random.Random(7), 30_000)]
    lines = [line + "\n" for t in text for line in t.split("\n")]
    r = random.Random(8)
    odd = [t[i : i + 200] for t in (patterns(r, 400_000).replace("|>", "> ").replace("s>", "s >"), spaces(r, 50_000), text[0][:300_000], text[1][:100_000])
           for i in range(0, len(t), 200)]
    for kind, specials in SPECIALS.items():
        t = build(kind)
        byte_tokens = [f"<0x{b:02X}>" for b in range(256)] if kind[:2] == "sp" else []
        t.train_from_iterator(odd if kind.endswith("any") else lines, trainers.BpeTrainer(
            vocab_size=4000, special_tokens=specials + byte_tokens, show_progress=False, max_token_length=16,
            initial_alphabet=[] if kind[:2] == "sp" else pre_tokenizers.ByteLevel.alphabet(),
            limit_alphabet=600))
        if kind == "qwen2":
            t.add_tokens([tokenizers.AddedToken("<tool_call>", special=False, normalized=False)])
        j = json.loads(t.to_str())
        vocab = j["model"]["vocab"]
        if kind[:2] == "sp":
            j["added_tokens"] = [a for a in j["added_tokens"] if a["content"] not in byte_tokens]
            j["model"] |= {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
            j["pre_tokenizer"] = None
            j["normalizer"] = {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
            j["decoder"] = {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
            j["post_processor"] = template(["<s>"], vocab) if kind == "sp" else None
        if kind == "llama3":
            j["model"]["ignore_merges"] = True
            j["post_processor"] = {"type": "Sequence", "processors": [
                {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
                template(["<|begin_of_text|>"], vocab)]}
        if kind in ("gpt2", "sp"):  # the older writing of merges, where no token has a space
            j["model"]["merges"] = [" ".join(m) for m in j["model"]["merges"]]
        with open(os.path.join(out, kind + ".tokenizer.json"), "w") as f:
            json.dump(j, f, ensure_ascii=False, separators=(",", ":"))
        print(kind, len(vocab), os.path.getsize(f.name))


# ---------------------------------------------------------------- small golden file

def variants():
    """Other settings of the trained tokenizers: members of tokenizer.json that are replaced."""
    bytelevel = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    gpt2 = bytelevel | {"use_regex": True}
    seq = lambda *s: {"pre_tokenizer": {"type": "Sequence", "pretokenizers": list(s)}}
    split = lambda p, b="Isolated", i=False: {"type": "Split", "pattern": {"Regex": p}, "behavior": b, "invert": i}
    text = lambda p, b: {"type": "Split", "pattern": {"String": p}, "behavior": b, "invert": False}
    norm = lambda *n: {"normalizer": {"type": "Sequence", "normalizers": list(n)}}
    digits = lambda one: {"type": "Digits", "individual_digits": one}
    meta = lambda scheme, cut: {"normalizer": None, "pre_tokenizer": {
        "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}}
    add = lambda content, **k: {"id": -1, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
                                "normalized": False, "special": False} | k
    yield from ((k, k, {}) for k in SPECIALS)
    yield "any-gpt2", "any", {"pre_tokenizer": gpt2}
    yield "any-llama3", "any", seq(split(LLAMA3), bytelevel)
    yield "any-qwen2", "any", seq(split(QWEN2), bytelevel)
    yield "any-smollm2", "any", seq(digits(True), gpt2)
    for name, pattern in dict(qwen35=QWEN35, minicpm5=MINICPM5, o200k=O200K, tekken=TEKKEN, cl100k=CL100K, gpt2split=GPT2).items():
        yield name, "any", seq(split(pattern), bytelevel)
    yield "removed", "any", seq(split(LLAMA3, "Removed", True), bytelevel)
    yield "removed-words", "any", seq(split(QWEN2, "Removed"), bytelevel)
    yield "deepseek3", "any", seq(split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK3), bytelevel)
    yield "minicpm5-full", "any", seq(split(r"\p{N}{1,3}"), split(MINICPM5), bytelevel)
    yield "falcon", "any", seq({"type": "Punctuation", "behavior": "Contiguous"}, gpt2, digits(False), split("[0-9][0-9][0-9]"))
    yield "prefix-space", "any", {"pre_tokenizer": gpt2 | {"add_prefix_space": True}}
    yield "digits-run", "any", seq(digits(False), gpt2)
    yield "digits-prefix", "any", seq(digits(True), gpt2 | {"add_prefix_space": True})
    for b in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        yield "behavior-" + b, "any", seq(split(r"[\.,a]|\s", b), bytelevel)
        yield "invert-" + b, "any", seq(split(r"[a-zA-Z]+", b, True), bytelevel)
        yield "text-" + b, "any", seq(text("a", b), bytelevel)
        yield "punct-" + b, "any", seq({"type": "Punctuation", "behavior": b}, bytelevel)
    yield "whitespace", "any", seq({"type": "Whitespace"}, bytelevel)
    yield "whitespace-split", "any", seq({"type": "WhitespaceSplit"}, bytelevel)
    yield "delimiter", "any", seq({"type": "CharDelimiterSplit", "delimiter": "e"}, bytelevel)
    yield "fixed", "any", seq({"type": "FixedLength", "length": 3}, bytelevel)
    yield "bytes-first", "any", norm({"type": "ByteLevel"}) | {"pre_tokenizer": split("[a-z]+")}
    for f in ("NFC", "NFD", "NFKC", "NFKD"):
        yield f.lower(), "any", norm({"type": f})
    yield "lower", "any", norm({"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"})
    yield "strip", "any", norm({"type": "Strip", "strip_left": True, "strip_right": False}, {"type": "Prepend", "prepend": "é "},
                                {"type": "Replace", "pattern": {"Regex": "[aeiou]+"}, "content": "o"})
    yield "strip-right", "any", norm({"type": "Strip", "strip_left": False, "strip_right": True})
    for scheme in ("always", "first", "never"):
        for cut in (True, False):
            yield f"meta-{scheme}-{cut}", "sp", meta(scheme, cut)
            yield f"any-meta-{scheme}-{cut}", "sp-any", meta(scheme, cut)
    yield "sp-no-strip", "sp", {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, "decoder": {
        "type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                                         {"type": "Fuse"}]}}
    yield "sp-gemma", "sp-any", {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
                             "pre_tokenizer": text(" ", "MergedWithPrevious")}
    yield "sp-trim", "sp", {"decoder": {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 3, "stop": 0}]}}
    yield "sp-unk", "sp", {"model": {"byte_fallback": False}}
    yield "sp-unk-apart", "sp", {"model": {"byte_fallback": False, "fuse_unk": False}}
    yield "sp-drop", "sp", {"model": {"byte_fallback": False, "unk_token": None}}
    yield "sp-ignore", "sp", {"model": {"ignore_merges": True}}
    yield "no-decoder", "gpt2", {"decoder": None}
    yield "roberta", "gpt2", {"post_processor": {"type": "RobertaProcessing", "sep": ["e", 70], "cls": ["<|endoftext|>", 0],
                                                 "trim_offsets": True, "add_prefix_space": False}}
    yield "added", "any", {"add": [
        add("  "), add("    "), add("      "), add("<a>", lstrip=True), add("<b>", rstrip=True, special=True),
        add("<c>", lstrip=True, rstrip=True, special=True), add("word", single_word=True), add("wor", normalized=True),
        add("<<"), add("<<<"), add("<|endoftext|>x", special=True), add("é", normalized=True), add("中文")]}
    yield "added-lower", "gpt2", norm({"type": "Lowercase"}) | {"add": [
        add("ABC", normalized=True), add("DEF"), add("Word", normalized=True, single_word=True), add("<S>", special=True)]}
    yield "added-sp", "sp", {"add": [add("<x>", normalized=True), add("<y>", special=True), add("the", normalized=False)]}


def apply(base, patch):
    j = json.loads(json.dumps(base))
    for k, v in patch.items():
        if k == "model":
            j["model"] |= v
        elif k == "add":
            ids = list(j["model"]["vocab"].values()) + [a["id"] for a in j["added_tokens"]]
            known = j["model"]["vocab"]
            n = max(ids) + 1
            for a in v:
                a = dict(a)
                a["id"] = known.get(a["content"], n)
                n += a["content"] not in known
                j["added_tokens"].append(a)
        else:
            j[k] = v
    return j


def small_texts():
    r = random.Random(3)
    out = ["", " ", "  ", "\n", "a", " a", "a ", "Hello, world!", " Hello  world ", "it's we'RE I'LL 'ſ 'S", "x" * 300, "ab" * 200,
           "12345 ½ ٣٤٥ Ⅷ 1", "日本語のテキスト、漢字。", "안녕하세요 세계", "e\u0301 é ẹ\u0301 a\u0334\u0301", "👩‍👩‍👧‍👦🇩🇪1️⃣ 🙂", "\t\tif x:\n\t\t\treturn 1\r\n\r\n",
           "<|endoftext|>", "a<|endoftext|>b", "<s>a</s> <unk>", "<|im_start|>user\nhi<|im_end|>\n", "<tool_call>x</tool_call>",
           "<|begin_of_text|><|eot_id|>", "▁a▁▁b ▁", "<0x41><0x", "\u0000\u0001\u007f\u00ad", "\ufffd\ufffe\U0010ffff", "   \n  \n\n x",
           "word wor words sword <a> x  <b>  y  <c>  z <<<< <<<|endoftext|>x    end", "ABC abc DEF def Word word <S> <s>",
           "<x>a<y> b<y>  <x> the these", "İstanbul ǅ ẞ Σς", "HTTPServerError camelCase XMLHttp's  a/b//\n", "....a,b,,c  a"]
    for make in (cjk, emoji, combining, spaces, noise, patterns):
        out += [make(r, n)[:n] for n in (20, 60, 150)]
    for t in (english(3000), python(3000), golang(3000), translations(3000)):
        out += [t[:200], t[-150:]]
    return out


def golden(out):
    texts = small_texts()
    cases = []
    for name, base, patch in variants():
        with open(os.path.join(out, base + ".tokenizer.json")) as f:
            j = apply(json.load(f), patch)
        t = Tokenizer.from_str(json.dumps(j))
        rows = []
        r = random.Random(5)
        size = t.get_vocab_size()
        for text in texts:
            t.encode_special_tokens = False
            special = t.encode(text, add_special_tokens=True).ids
            t.encode_special_tokens = True
            plain = t.encode(text, add_special_tokens=False).ids
            rows.append([special, plain])
        # The ids show what normalisation does to each code point, the lengths of the words what the patterns do.
        every = words = None
        if base == name or name in ("nfd", "nfkc", "lower"):
            every = sha256(t.encode(every_short(), add_special_tokens=False).ids)
        if name in ("gpt2", "llama3", "qwen2", "smollm2", "o200k", "tekken", "qwen35", "minicpm5", "whitespace", "whitespace-split",
                    "punct-Isolated", "digits-run"):
            text = every_short()
            pieces = t.pre_tokenizer.pre_tokenize_str(text)
            words = sha256([len(text[a:b].encode()) for _, (a, b) in pieces])
        decoded = []
        for _ in range(8):
            ids = [r.randrange(size) for _ in range(r.randrange(10))]
            decoded.append([ids, t.decode(ids, skip_special_tokens=True), t.decode(ids, skip_special_tokens=False)])
        for k, text in enumerate(texts[:30:3]):
            ids = rows[3 * k][0]
            decoded.append([ids, t.decode(ids, skip_special_tokens=True), t.decode(ids, skip_special_tokens=False)])
        cases.append({"name": name, "base": base, "json": {k: j[k] for k in patch if k in j and k != "model"},
                      "model": patch.get("model"), "added_tokens": j["added_tokens"] if "add" in patch else None,
                      "ids": None if patch else pack(rows), "hashes": " ".join(digest(a) + digest(b) for a, b in rows),
                      "every": every, "words": words, "decoded": decoded})
    with open(os.path.join(out, "golden.json"), "w") as f:
        json.dump({"made_with": "tokenizers " + tokenizers.__version__, "texts": texts, "cases": cases}, f, ensure_ascii=True,
                  separators=(",", ":"))
    print(os.path.getsize(f.name))


def pack(rows):
    """Two lists of ids for each text; the second is null where it equals the first."""
    return [[a, None if a == b else b] for a, b in rows]


def sha256(numbers):
    return hashlib.sha256(array.array("i", numbers).tobytes()).hexdigest()


def digest(ids):
    return sha256(ids)[:8]


# ---------------------------------------------------------------- large corpus

def corpus(out, gguf, only):
    os.makedirs(out, exist_ok=True)
    r = random.Random(11)
    files = {
        "english": english(1_500_000), "python": python(1_000_000), "go": golang(500_000), "translations": translations(700_000),
        "cjk": cjk(r, 600_000), "emoji": emoji(r, 300_000), "combining": combining(r, 500_000), "spaces": spaces(r, 300_000),
        "noise": noise(r, 500_000), "patterns": patterns(r, 500_000), "letters": "a" * 200_000 + "".join(r.choices("abcdé", k=100_000)),
        "every": every(r, 0),
    }
    manifest = {"made_with": "tokenizers " + tokenizers.__version__, "files": {}, "ids": {}}
    for name, text in files.items():
        data = text.encode()
        with open(f"{out}/{name}.txt", "wb") as f:
            f.write(data)
        manifest["files"][name] = [len(data), hashlib.sha256(data).hexdigest()]
    here = os.path.join(os.path.dirname(__file__), "../../tokenizer/testdata")
    kinds = {k: os.path.join(here, k + ".tokenizer.json") for k in SPECIALS}
    for v, base, patch in variants():
        if v in ("o200k", "qwen35", "meta-first-False", "nfkc"):
            with open(kinds[base]) as f:
                j = apply(json.load(f), patch)
            kinds[v] = f"{out}/{v}.tokenizer.json"
            with open(kinds[v], "w") as f:
                json.dump(j, f)
    if gguf:
        kinds["smollm2-real"] = from_gguf(gguf, out)
    if only:  # the others stay as an earlier run made them
        with open(f"{out}/manifest.json") as f:
            manifest["ids"] = json.load(f)["ids"]
    for kind, path in kinds.items():
        if only and kind not in only.split(","):
            continue
        t = Tokenizer.from_file(path)
        for name, text in files.items():
            t.encode_special_tokens = True
            ids = array.array("i", t.encode(text, add_special_tokens=False).ids).tobytes()
            with open(f"{out}/{kind}.{name}.ids", "wb") as f:
                f.write(ids)
            manifest["ids"][f"{kind}.{name}"] = hashlib.sha256(ids).hexdigest()
        print(kind, file=sys.stderr)
    with open(f"{out}/manifest.json", "w") as f:
        json.dump(manifest, f, indent=1)


def from_gguf(path, out):
    """The vocabulary of a SmolLM2 GGUF as tokenizer.json, and as plain JSON for the Go test of FromGGUF."""
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    get = lambda k: fields["tokenizer.ggml." + k].contents()
    tokens, types, merges = get("tokens"), get("token_type"), get("merges")
    with open(f"{out}/smollm2-real.gguf.json", "w") as f:
        json.dump({"model": get("model"), "pre": get("pre"), "tokens": tokens, "types": types, "merges": merges,
                   "bos": get("bos_token_id"), "eos": get("eos_token_id")}, f)
    t = build("smollm2")
    t.model = models.BPE(vocab={s: i for i, s in enumerate(tokens)}, merges=[tuple(m.split(" ")) for m in merges])
    t.add_special_tokens([tokenizers.AddedToken(s, special=True, normalized=False) for s, k in zip(tokens, types) if k == 3])
    t.save(f"{out}/smollm2-real.tokenizer.json")
    return f"{out}/smollm2-real.tokenizer.json"


def speed(out):
    here = os.path.join(os.path.dirname(__file__), "../../tokenizer/testdata")
    for kind in list(SPECIALS) + ["smollm2-real"]:
        path = os.path.join(here, kind + ".tokenizer.json")
        path = path if os.path.exists(path) else f"{out}/{kind}.tokenizer.json"
        if not os.path.exists(path):
            continue
        for name in ("english", "python", "translations", "cjk", "noise"):
            text = read(f"{out}/{name}.txt")
            size = len(text.encode())
            lines = text.splitlines(keepends=True)
            best = {}
            for how, run in (("whole", lambda t: t.encode(text, add_special_tokens=False)),
                             ("lines", lambda t: [t.encode(x, add_special_tokens=False) for x in lines])):
                t = Tokenizer.from_file(path)
                took = []
                for _ in range(3):
                    begin = time.process_time()  # of the processor: others may use the machine too
                    run(t)
                    took.append(time.process_time() - begin)
                best[how] = size / min(took) / 1e6
            print(f"{kind:14} {name:14} whole {best['whole']:6.2f} MB/s   lines {best['lines']:6.2f} MB/s", flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("what", choices=["train", "golden", "corpus", "speed"])
    p.add_argument("dir")
    p.add_argument("--gguf")
    p.add_argument("--kinds", help="only these, separated by commas")
    a = p.parse_args()
    if a.what == "corpus":
        corpus(a.dir, a.gguf, a.kinds)
    else:
        {"train": train, "golden": golden, "speed": speed}[a.what](a.dir)


main()
