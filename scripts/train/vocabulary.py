#!/usr/bin/env python3
"""Trains a byte-level BPE vocabulary with PyPI's tokenizers: TEXTS OUT SIZE.

Writes OUT/tokenizer.json and OUT/tokenizer_config.json. With --compare TEXTS OUT NOSA it holds the ids of `nosa tokenize` against
those of tokenizers, on every text that is there.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

# Ids 0 to 3: the end of a text, a chat's turns, and what fills up a row. No text has them.
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]

# The pattern of GPT-2, with each digit by itself, as in SmolLM2: numbers are copied digit by digit.
CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": None,
    "eos_token": "<|endoftext|>",
    "pad_token": "<|pad|>",
    "add_bos_token": False,
    "add_eos_token": False,
    "clean_up_tokenization_spaces": False,
    "model_max_length": 32768,
}


def files(folder):
    return sorted(folder.rglob("*.txt"))


def train(texts, out, size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=[AddedToken(s, special=True, normalized=False) for s in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((p.read_text() for p in files(texts / "train")), trainer)
    out.mkdir(parents=True, exist_ok=True)
    (out / "tokenizer.json").write_text(tokenizer.to_str(pretty=True) + "\n")
    (out / "tokenizer_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    print(f"{out}: {tokenizer.get_vocab_size()} ids")


def compare(texts, out, nosa):
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    (end,) = tokenizer.encode(SPECIAL[0]).ids
    for part in ("train", "heldout"):
        with tempfile.TemporaryDirectory() as folder:
            made = f"{folder}/set"
            subprocess.run([nosa, "-q", "corpus", "build", texts / part, made, "--vocabulary", out], check=True, stdout=subprocess.DEVNULL)
            show = subprocess.run([nosa, "corpus", "show", made, "--ids"], check=True, capture_output=True).stdout.splitlines()
        table = {}
        for path, line in zip(files(texts / part), show, strict=True):
            text, got = path.read_text(), json.loads(line)
            want = tokenizer.encode(text).ids + [end]
            if got != want:
                at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
                sys.exit(f"{path}: id {at} is {got[at : at + 5]}, tokenizers has {want[at : at + 5]}")
            row = table.setdefault(path.relative_to(texts / part).parts[0], [0, 0, 0])
            for k, n in enumerate((1, len(text.encode()), len(want))):
                row[k] += n
        table["all"] = [sum(column) for column in zip(*table.values())]
        for source, (documents, size, count) in table.items():
            print(f"{part:8} {source:12} {documents:4} documents {size:9} bytes {count:9} tokens {size / count:.2f} bytes each")
    print("nosa and tokenizers give the same ids")


if __name__ == "__main__":
    if sys.argv[1] == "--compare":
        compare(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4])
    else:
        train(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3]))
