"""Runs RULER's own generators and scorers and writes eval/testdata/ruler.json.

    pip install numpy scipy tqdm wonderwords
    python scripts/oracles/eval_ruler.py RULER

RULER is a checkout of github.com/NVIDIA/RULER (made with c3f5e3b). Its generators are imported, not
copied, and every draw that they make is noted, so that a generator of ours that is handed the same
draws can be expected to write the same prompt, byte for byte. What prompts are filled with is made
up here: words w0000 …, sentences of them, documents of them. nltk's sentence splitter, which needs a
model, is replaced by the rule that eval.splitSentences has. Of prompts the SHA-256 is kept.
"""

import argparse
import hashlib
import importlib
import json
import random
import re
import shutil
import sys
import tempfile
import types
import uuid
from pathlib import Path

import numpy as np

draws = []


def note(kind, n, *values):
    draws.append([kind, n, *values])


class Recorder(random.Random):
    """Draws as random does, and notes what was drawn: below n, k of n, an order of n, 64 bits."""

    def randint(self, a, b):
        v = super().randint(a, b)
        note("below", b - a + 1, v - a)
        return v

    def choice(self, seq):
        i = super().randrange(len(seq))
        note("below", len(seq), i)
        return seq[i]

    def choices(self, population, *, k):
        return [self.choice(population) for _ in range(k)]

    def sample(self, population, k):
        places = super().sample(range(len(population)), k)
        note("sample", len(population), *places)
        return [population[i] for i in places]

    def shuffle(self, x):
        order = list(range(len(x)))
        super().shuffle(order)
        note("shuffle", len(x), *order)
        x[:] = [x[i] for i in order]

    def getrandbits(self, k):
        v = super().getrandbits(k)
        if k == 128:
            note("bits", 0, str(v >> 64))
            note("bits", 0, str(v & (1 << 64) - 1))
        return v


# random.Random's own methods call getrandbits of theirs, of other sizes, which are not noted.
recorder = Recorder(7)


def sentences(text):
    return re.split(r"(?<=[.?!]) (?![a-z])", text.strip())


def words(n):
    return [f"w{i:04d}" for i in range(n)]


def essay():
    out = []
    for i in range(400):
        out.append(" ".join(f"e{(i * 7 + j) % 911:03d}" for j in range(5 + i % 9)) + ".?!."[i % 4] + ("" if i % 5 else " and on."))
    return "X" + " X".join(out)


def squad():
    docs = [[f"Text {i}.{j} " + "says something. " * (3 + j) for j in range(3)] for i in range(14)]
    return {"data": [{"paragraphs": [{"context": d, "qas": [
        {"question": f"What does {d[:8]} say?", "is_impossible": False, "answers": [{"text": "something"}, {"text": d[:4]}]},
        {"question": "none", "is_impossible": True, "answers": []},
    ]} for d in article]} for article in docs]}  # fmt: skip


def hotpot():
    return [{"question": f"Which of {i}?", "answer": f"answer {i}", "context": [[f"Title {i}-{j}", [f"One {i}. ", f"Two {j}."]] for j in range(4)]} for i in range(8)]


def module(folder, name, args):
    """One of RULER's scripts, as it stands after it has read its command line."""
    sys.argv = [name, "--save_dir", "x", "--save_name", "x", "--tokenizer_path", "x", "--tokenizer_type", "none", *args]
    sys.modules.pop(name, None)
    m = importlib.import_module(name)
    m.random = types.SimpleNamespace(**{k: getattr(recorder, k) for k in ("randint", "choice", "choices", "sample", "shuffle", "getrandbits", "random")}, Random=lambda seed: recorder)
    randint = lambda a, b: a + recorder.randint(0, b - a - 1)  # noqa: E731
    m.np = types.SimpleNamespace(random=types.SimpleNamespace(randint=randint), arange=np.arange)
    if hasattr(m, "words"):
        m.words = words(2000) if name != "niah" else [f"a{i:02d}-n{j:02d}" for i in range(90) for j in range(90)]
    return m


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ruler", type=Path)
    ruler = parser.parse_args().ruler / "scripts"
    with tempfile.TemporaryDirectory() as dir:
        shutil.copytree(ruler / "data", Path(dir) / "data")
        folder = Path(dir) / "data" / "synthetic"
        for file, text in {"PaulGrahamEssays": {"text": essay()}, "english_words": {str(i): w for i, w in enumerate(words(3000))}, "squad": squad(), "hotpotqa": hotpot()}.items():
            (folder / "json" / f"{file}.json").write_text(json.dumps(text))
        sys.path[:0] = [str(folder), str(folder.parent)]
        tokenizer = types.ModuleType("tokenizer")
        tokenizer.select_tokenizer = lambda *a: None
        sys.modules["tokenizer"] = tokenizer
        nltk = types.ModuleType("nltk.tokenize")
        nltk.sent_tokenize = sentences
        sys.modules["nltk"], sys.modules["nltk.tokenize"] = types.ModuleType("nltk"), nltk
        generated = generate(folder)
    sys.path[:0] = [str(ruler / "eval" / "synthetic")]
    sys.modules.pop("constants", None)
    scored = score(importlib.import_module("constants"), (ruler / "eval" / "evaluate.py").read_text())
    out = Path("eval/testdata/ruler.json")
    out.parent.mkdir(exist_ok=True)
    lines = [json.dumps(g) for g in generated]
    out.write_text('{"essay": ' + json.dumps(essay()) + ', "squad": ' + json.dumps(squad()) + ', "hotpot": ' + json.dumps(hotpot())
                   + ', "samples": [\n' + ",\n".join(lines) + '\n], "scores": [\n' + ",\n".join(json.dumps(s) for s in scored) + "\n]}\n")  # fmt: skip


def generate(folder):
    out = []

    def add(task, size, length, make):
        draws.clear()
        text, answers = make()
        out.append({"task": task, "size": size, "length": length, "sha256": hashlib.sha256(text.encode()).hexdigest(), "bytes": len(text.encode()),
                    "answers": answers, "draws": draws[:]})  # fmt: skip

    constants = importlib.import_module("constants").TASKS

    def template(kind):
        return constants[kind]["template"] + constants[kind]["answer_prefix"]

    needles = {
        "niah_single_1": ("noise", "words", "numbers", 1, 1, 1), "niah_single_2": ("essay", "words", "numbers", 1, 1, 1),
        "niah_single_3": ("essay", "words", "uuids", 1, 1, 1), "niah_multikey_1": ("essay", "words", "numbers", 4, 1, 1),
        "niah_multikey_2": ("needle", "words", "numbers", 1, 1, 1), "niah_multikey_3": ("needle", "uuids", "uuids", 1, 1, 1),
        "niah_multivalue": ("essay", "words", "numbers", 1, 4, 1), "niah_multiquery": ("essay", "words", "numbers", 1, 1, 4),
    }  # fmt: skip
    for task, (haystack, k, v, nk, nv, nq) in needles.items():
        m = module(folder, "niah", ["--max_seq_length", "4096", "--tokens_to_generate", "128", "--num_samples", "1", "--template", template("niah"),
                                    "--type_haystack", haystack, "--type_needle_k", k, "--type_needle_v", v,
                                    "--num_needle_k", str(nk), "--num_needle_v", str(nv), "--num_needle_q", str(nq)])  # fmt: skip
        m.uuid = uuid
        for size in (12, 37) if haystack != "essay" else (120, 900, 5000):
            add(task, size, 4096, lambda m=m, size=size: m.generate_input_output(size))

    m = module(folder, "variable_tracking", ["--max_seq_length", "4096", "--num_samples", "1", "--template", template("variable_tracking"), "--tokens_to_generate", "30"])
    for size in (7, 23):

        def vt(size=size):
            text, answers = m.generate_input_output(size, 1, 4)
            example, shown = m.generate_input_output(5, 1, 4, is_icl=True)
            return m.randomize_icl(example + " " + " ".join(shown) + "\n") + "\n" + text, answers

        add("vt", size, 4096, vt)

    for length in (2048, 4096):
        m = module(folder, "common_words_extraction", ["--max_seq_length", str(length), "--tokens_to_generate", "120", "--num_samples", "1", "--template", template("common_words_extraction")])
        for size in (30, 90, 2500):
            add("cwe", size, length, lambda m=m, size=size: m.generate_input_output(size))

    for length in (2050, 8050):
        m = module(folder, "freq_words_extraction", ["--max_seq_length", str(length), "--tokens_to_generate", "50", "--num_samples", "1", "--template", template("freq_words_extraction")])
        m.TOKENIZER = types.SimpleNamespace(text_to_tokens=lambda text: [])
        add("fwe", 700, length, lambda m=m, length=length: m.generate_input_output(length, num_words=700, vocab_size=(length - 50) // 50)[:2])
        del out[-1]["draws"][-2]  # it writes the text twice, with the same seed for the order of the words: the second time counts

    for task, dataset in {"qa_1": "squad", "qa_2": "hotpotqa"}.items():
        m = module(folder, "qa", ["--max_seq_length", "4096", "--tokens_to_generate", "32", "--num_samples", "1", "--template", template("qa"), "--dataset", dataset])
        for index, size in enumerate((4, 9, 30, 100)):
            if dataset == "squad" and size == 4:
                size = 2
            add(task, size, 4096, lambda m=m, index=index, size=size: m.generate_input_output(index, size))
            out[-1]["index"] = index
    return out


def score(constants, evaluate):
    """String matches, of predictions as RULER's evaluate.py cleans them: its function is cut out, since the file needs nemo."""
    start = evaluate.index("def postprocess_pred")
    scope = {"re": re}
    exec(evaluate[start : evaluate.index("def get_pred_and_ref")], scope)
    cases = [
        (" 1234567.", ["1234567"]), ("the Blue-Whale and more", ["blue-whale", "red"]), ("", ["x"]), ("\x00\x1fa\tb", ["a\nb", "a\tb"]),
        ("WORD word Word", ["word", "WORDS"]), ("1. one 2. two 3. three", ["one", "two", "three", "four"]), (" \n  answer \n", ["answer", "swer"]),
        ("Straße ÄÖ", ["straße", "äö"]), ("none", ["NONE", "one", "on e"]),
    ]  # fmt: skip
    out = []
    for pred, refs in cases:
        clean = scope["postprocess_pred"](pred, None)
        out.append({"text": pred, "answers": refs, "all": constants.string_match_all([clean], [refs]), "part": constants.string_match_part([clean], [refs])})
    return out


main()
