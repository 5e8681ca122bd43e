"""Writes the ids that llama.cpp gives for the corpus of tokenizers_golden.py, for the tests of FromGGUF.

    python scripts/oracles/tokenizers_llama.py DIR --tokenize llama-tokenize --gguf SmolLM2.gguf

DIR is the folder of the corpus. The model "llama" is a file with the vocabulary of testdata/sp.tokenizer.json, whose
scores are the negative ids; "smollm" is the file that is given.
"""

import argparse
import array
import ast
import hashlib
import json
import os
import subprocess

from gguf import GGUFWriter

HERE = os.path.join(os.path.dirname(__file__), "../../tokenizer/testdata")
TEXTS = ["english", "python", "go", "translations", "cjk", "emoji", "spaces"]


def write_sp(path):
    with open(os.path.join(HERE, "sp.tokenizer.json")) as f:
        vocab = json.load(f)["model"]["vocab"]
    tokens = sorted(vocab, key=vocab.get)
    types = [6 if s.startswith("<0x") else 3 if s in ("<s>", "</s>", "<unk>") else 1 for s in tokens]
    w = GGUFWriter(path, "llama")
    w.add_context_length(64)
    w.add_embedding_length(8)
    w.add_block_count(1)
    w.add_feed_forward_length(8)
    w.add_head_count(1)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(tokens)
    w.add_token_scores([-float(i) for i in range(len(tokens))])
    w.add_token_types(types)
    w.add_unk_token_id(0)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("dir")
    p.add_argument("--tokenize", required=True)
    p.add_argument("--gguf", required=True)
    a = p.parse_args()
    write_sp(f"{a.dir}/sp.gguf")
    manifest = {}
    for model, path in (("sp", f"{a.dir}/sp.gguf"), ("smollm2-real", a.gguf)):
        for name in TEXTS:
            out = subprocess.run(
                [a.tokenize, "-m", path, "-f", f"{a.dir}/{name}.txt", "--ids", "--no-bos", "--no-escape",
                 "--no-parse-special", "--log-disable"], capture_output=True, check=True).stdout
            ids = array.array("i", ast.literal_eval(out.decode())).tobytes()
            with open(f"{a.dir}/llama.{model}.{name}.ids", "wb") as f:
                f.write(ids)
            manifest[f"{model}.{name}"] = hashlib.sha256(ids).hexdigest()
            print(model, name, len(ids) // 4, flush=True)
    with open(f"{a.dir}/llama.json", "w") as f:
        json.dump(manifest, f, indent=1)


main()
