"""Runs LongBench's and InfiniteBench's own scorers and writes eval/testdata/scores.json.

    pip install jieba fuzzywuzzy rouge
    python scripts/oracles/eval_scores.py LONGBENCH INFINITEBENCH

LONGBENCH is a checkout of github.com/THUDM/LongBench (made with 2e00731), INFINITEBENCH one of
github.com/OpenBMB/InfiniteBench (88b3daa). Their scorers are imported, not copied; InfiniteBench's
needs the package evaluate for summaries alone, which are not scored here. The texts are made up
here, from a seed. As LongBench's requirements have it, fuzzywuzzy runs without python-Levenshtein,
which counts otherwise.

Of InfiniteBench's generators, passkey and key-value retrieval are run too, and of what they write
the SHA-256 is kept, with what they drew.
"""

import argparse
import hashlib
import importlib
import importlib.util
import json
import os
import random
import re
import sys
import tempfile
import types
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
rnd = random.Random(11)

vocabulary = ["the", "The", "a", "an", "An", "cat", "cats,", "sat.", "on", "mat", "Über", "naïve", "can't", "U.S.", "3.14", "42", "x=1", "(see)", "the—end", "“the”", "a_b",
              "it’s", "ein", "。", "它", "well-known", "A.", "...", "\u2028", "\xa0", "\x1c", "ſ", "1²", "٣", "the's"]  # fmt: skip
code = ["def f(x):", "return x", "# note", "// note", "`quoted`", "for i in range(10):", "    total += i * i", "x = {'a': 1, 'b': [2, 3]}", "", "if (a && b) { c(); }", "äöü = 1"]
classes = ["City", "State", "Other location", "Number of something", "Other number", "Code", "Expression abbreviated", "Abbreviation", "other"]


def sentence(n):
    return "".join(rnd.choice(vocabulary) + rnd.choice([" ", " ", " ", "  ", ". ", "\n", ""]) for _ in range(n))


def mutated(s):
    """s with some of its characters changed, so that there is something to align."""
    out = list(s)
    for _ in range(rnd.randrange(1, 8)):
        if out:
            i = rnd.randrange(len(out))
            rnd.choice([lambda: out.pop(i), lambda: out.insert(i, rnd.choice("ab c\n.")), lambda: out.__setitem__(slice(i, i + 9), [])])()
    return "".join(out)


def longbench(m, dataset2metric):
    cases = []

    def add(dataset, text, answer, all_classes=None):
        cases.append({"set": dataset, "text": text, "answer": answer, "classes": all_classes, "score": float(dataset2metric[dataset](text, answer, all_classes=all_classes))})

    for n in range(60):
        a = sentence(rnd.randrange(0, 12))
        for text in (mutated(a), sentence(rnd.randrange(0, 12))):
            add("hotpotqa", text, a)
    for n in range(40):
        a = sentence(rnd.randrange(1, 60))
        for text in (mutated(a), sentence(rnd.randrange(0, 60))):
            add("gov_report", text, a)
    for text in ("", ".", "...", " . . ", "the", ".the.", "a b. b a. c"):
        for a in ("", "..", "the", "b a. a b. c d"):
            add("gov_report", text, a)
            add("hotpotqa", text, a)
    for n in range(60):
        answer = rnd.choice(classes)
        text = ", ".join(rnd.sample(classes, rnd.randrange(0, 5)))
        add("trec", rnd.choice(["", "It is ", "other: "]) + text, answer, rnd.sample(classes, len(classes)))
    for text in ("", "7", "7 of 12", "seven", "07 7", "7.7", "-7", "٧ 7", "17, 7, 77"):
        for answer in ("7", "12", "٧"):
            add("passage_count", text, answer)
            add("passage_retrieval_en", text, "Paragraph " + answer)
            add("passage_retrieval_zh", text, "段落" + answer)
    for n in range(80):
        a = rnd.choice(code) + rnd.choice(["", "  ", rnd.choice(code)])
        text = "\n" * rnd.randrange(3) + "\n".join(rnd.choice([mutated(a), rnd.choice(code), a]) for _ in range(rnd.randrange(1, 4)))
        add("lcc", text, a)
    for n in range(12):  # long enough that characters are popular
        a = "".join(rnd.choice("abcdefghij (){}=+") for _ in range(rnd.randrange(150, 420)))
        add("lcc", mutated(mutated(mutated(a))), a)
        add("lcc", "".join(rnd.choice("abcdefghijklmnop ") for _ in range(300)), a)
    return cases


def choices(extract):
    texts = ["The correct answer is (B).", "The correct answer is C", "**The correct answer is (D)**", "the correct answer is (A)", "The correct answer is (E)", "The correct answer is (a)",
             "The correct answer is  (B)", "A", "", "I think A. The correct answer is B. The correct answer is (C)", "The correct answer is (A) or (B)", "The correct *answer* is (B)"]  # fmt: skip
    return [{"text": t, "choice": extract(t.strip()) or ""} for t in texts]


def infinite(m):
    cases = []
    for task, answers, texts in (
        ("passkey", ["12345", "00123"], [" 12345.", "The pass key is 12345", "123456", "", "none", "1 2345", "٣ 12345", "12345 6", "00123", "123"]),
        ("kv_retrieval", ["0a1b-2c", "v"], ['"0a1b-2c"', "0a1b-2c,", "x0a1b-2c", "is: v.", "{v}", "v-", "", "0a1b-2c\u2003v", "V", "(v)"]),
    ):
        for a in answers:
            for t in texts:
                cases.append({"task": task, "text": t, "answer": a, "score": m.get_score_one(t, a, task, "")})
    return cases


def generators(folder):
    """The texts that InfiniteBench's script writes, of which a few are kept."""
    written = {}

    class File:
        def __init__(self, name):
            self.name = name

        def write_all(self, items):
            written[self.name] = items

        def close(self):
            pass

    class Reader(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    pairs = [[f"{i:08x}-0000-4000-8000-{i * i:012x}", f"{i * 7:08x}-1111-4111-9111-{i:012x}"] for i in range(60)]
    orders = []
    fake = types.ModuleType("jsonlines")
    fake.open = lambda name, mode="r": File(name) if mode == "w" else Reader([{"ordered_kv_records": [list(p) for p in pairs]} for _ in range(10)])
    sys.modules["jsonlines"] = fake
    spec = importlib.util.spec_from_file_location("construct", folder / "data" / "construct_synthetic_dataset.py")
    m = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(m)
    r = random.Random(5)

    def shuffle(x):
        r.shuffle(x)
        orders.append([pairs.index(p) for p in x])

    m.random = types.SimpleNamespace(randint=r.randint, shuffle=shuffle, random=r.random)
    m.build_passkey()
    m.build_kv_retrieval()
    sha = lambda s: hashlib.sha256(s.encode()).hexdigest()  # noqa: E731
    passkeys = []
    items = written["passkey_8192.jsonl"]
    for n in (0, 1, 5, 130, len(items) - 1):
        passkeys.append({"key": items[n]["answer"], "line": n // 5 * 6, "lines": 326, "sha256": sha(items[n]["context"]), "input": items[n]["input"]})
    kv = []
    for n, item in enumerate(written["kv_retrieval.jsonl"]):
        kv.append({"order": orders[n], "at": n * 5, "sha256": sha(item["context"]), "input": item["input"], "answer": item["answer"]})
    return {"passkey": passkeys, "kv": kv, "pairs": pairs}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("longbench", type=Path)
    parser.add_argument("infinitebench", type=Path)
    args = parser.parse_args()
    sys.path[:0] = [str(args.longbench / "LongBench"), str(args.infinitebench / "src")]
    from fuzzywuzzy import fuzz

    assert fuzz.SequenceMatcher.__module__ == "difflib", "take python-Levenshtein away"
    scorer = importlib.import_module("eval")
    long = longbench(importlib.import_module("metrics"), scorer.dataset2metric)
    source = (args.longbench / "pred.py").read_text()  # which needs a GPU's packages: the function is cut out
    scope = {"re": re}
    exec(source[source.index("def extract_answer") : source.index("def get_pred")], scope)
    means = []
    for dataset in ("hotpotqa", "gov_report", "passage_count", "lcc"):
        of = [c for c in long if c["set"] == dataset]
        lengths = [(i * 997) % 12000 for i in range(len(of))]
        means.append({"set": dataset, "mean": scorer.scorer(dataset, [c["text"] for c in of], [[c["answer"]] for c in of], None),
                      "lengths": lengths, "e": scorer.scorer_e(dataset, [c["text"] for c in of], [[c["answer"]] for c in of], lengths, None)})  # fmt: skip
    evaluate = types.ModuleType("evaluate")
    evaluate.load = lambda name: None
    sys.modules["evaluate"] = evaluate
    out = {"longbench": long, "means": means, "choices": choices(scope["extract_answer"]), "infinitebench": infinite(importlib.import_module("compute_scores"))}
    path = Path("eval/testdata/scores.json").absolute()
    folder = args.infinitebench.absolute()
    with tempfile.TemporaryDirectory() as dir:
        os.chdir(dir)
        out["generators"] = generators(folder)
    lines = lambda items: "[\n" + ",\n".join(json.dumps(i) for i in items) + "\n]"  # noqa: E731
    path.write_text("{" + ",\n".join(json.dumps(k) + ": " + (lines(v) if isinstance(v, list) else json.dumps(v)) for k, v in out.items()) + "}\n")


main()
