"""Do a tokenizer.json, the GGUF that nosa makes of it and the tokenizer.json made of that GGUF give the same ids?

    python scripts/oracles/weights_tokenizers.py TOKENIZER.json… --text FILE --bin BIN [--convert "nosa convert"]

By hand, not in CI. Around each tokenizer a random model of one small layer is written as a folder, converted to GGUF and
back. Ids by PyPI tokenizers with the original and with what came back, and by llama.cpp's llama-tokenize (in BIN) with
the GGUF, are compared on the first 200 KB of FILE and on a page of other scripts, digits and spaces.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer

PAGE = ("naïve café — ÆØÅ straße; 3.14159 and 1234567890; I'll, we've, DON'T\n"
        "日本語のテキスト。中文，标点！한국어 문장입니다. Русский текст, Ελληνικά, עברית, العربية\n"
        "🙂👍🏽👩‍👩‍👧‍👦 x² ½ ﬁ  two  spaces\tand\ttabs\r\n\r\n\n   indented   \nfoo(bar)[0] == {'a': -1}; // end\n")


def model(folder, tokenizer, vocab):
    hidden = 64
    rng = np.random.default_rng(1)
    layer = {"input_layernorm": (hidden,), "post_attention_layernorm": (hidden,), "self_attn.q_proj": (hidden, hidden),
             "self_attn.k_proj": (hidden, hidden), "self_attn.v_proj": (hidden, hidden), "self_attn.o_proj": (hidden, hidden),
             "mlp.gate_proj": (32, hidden), "mlp.up_proj": (32, hidden), "mlp.down_proj": (hidden, 32)}
    shapes = {"model.embed_tokens.weight": (vocab, hidden), "model.norm.weight": (hidden,)}
    shapes |= {f"model.layers.0.{k}.weight": v for k, v in layer.items()}
    save_file({k: rng.normal(size=v).astype(np.float32) for k, v in shapes.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 32, "vocab_size": vocab,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 1e4, "tie_word_embeddings": True,
        "bos_token_id": 1, "eos_token_id": 2}))
    (folder / "tokenizer.json").write_bytes(Path(tokenizer).read_bytes())


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def first_difference(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("tokenizers", nargs="+")
    p.add_argument("--text", required=True)
    p.add_argument("--bin", required=True)
    p.add_argument("--convert", default="nosa convert")
    a = p.parse_args()
    book = Path(a.text).read_text()[:200_000]
    failed = False
    for path in a.tokenizers:
        with tempfile.TemporaryDirectory() as work:
            work = Path(work)
            (work / "src").mkdir()
            original = Tokenizer.from_file(path)
            vocab = (max(original.get_vocab().values()) // 32 + 1) * 32
            model(work / "src", path, vocab)
            for source, target in [("src", "m.gguf"), ("m.gguf", "back")]:
                done = subprocess.run([*shlex.split(a.convert), str(work / source), str(work / target)], capture_output=True, text=True)
                if done.returncode:
                    break
            if done.returncode:
                print(f"{path}: refused: {done.stdout}{done.stderr}".strip())
                continue
            back = Tokenizer.from_file(str(work / "back" / "tokenizer.json"))
            for name, text in [("book", book), ("page", PAGE)]:
                (work / "text").write_bytes(text.encode())
                out = subprocess.run([f"{a.bin}/llama-tokenize", "-m", str(work / "m.gguf"), "-f", str(work / "text"), "--ids",
                                      "--log-disable", "--no-bos", "--no-parse-special"], capture_output=True, text=True)
                theirs = json.loads(out.stdout.strip().splitlines()[-1])
                one, two = ids(original, text), ids(back, text)
                print(f"{path} {name}: {len(one)} ids; back: {'same' if one == two else 'DIFFERENT'}; llama.cpp: "
                      f"{'same' if one == theirs else 'DIFFERENT'}")
                for what, other in [("back", two), ("llama.cpp", theirs)]:
                    if other != one:
                        i = first_difference(one, other)
                        show = lambda x: [original.id_to_token(t) for t in x[max(0, i - 2):i + 5]]
                        print(f"   at {i}: {show(one)}, {what} {show(other)}")
                failed |= one != two or one != theirs
    sys.exit(failed)


main()
