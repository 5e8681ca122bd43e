"""Holds folders and GGUF files that nosa wrote against transformers, safetensors and gguf. By hand, not in CI.

    python scripts/oracles/weights_check.py folder FOLDER GGUF [--text FILE --llama-tokenize PROGRAM]
        FOLDER was converted from GGUF: transformers loads it, every weight equals the file's (its own q and k order
        undone), the tokenizer's text comes back, and its ids are those that llama.cpp makes with the GGUF.
        (transformers' own reading of GGUF tokenizers is no oracle: it drops SmolLM's step that splits digits.)
    python scripts/oracles/weights_check.py logits FOLDER GGUF [--tolerance T]
        Both hold the same model: logits of 64 ids by transformers agree within T of their largest.

Needs torch, transformers, gguf, safetensors, numpy. For a GGUF's tensors beside a folder's see check_gguf.py.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

NAMES = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}
TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def folder_name(name):
    stem, ending = name.rsplit(".", 1)
    if stem.startswith("blk."):
        _, layer, part = stem.split(".", 2)
        return f"model.layers.{layer}.{NAMES[part]}.{ending}"
    return f"{TOP[stem]}.{ending}"


def unpermute(w, heads):
    """llama.cpp has the halves of a head interleaved."""
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def check_folder(folder, path, text, program):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config, state = model.config, model.state_dict()
    reader = gguf.GGUFReader(path)
    arch = reader.fields["general.architecture"].contents()
    worst, seen = 0.0, 0
    for t in reader.tensors:
        if t.name.startswith("rope_"):
            continue
        want = gguf.dequantize(t.data, t.tensor_type).reshape([int(n) for n in reversed(t.shape)])
        name = folder_name(t.name)
        if arch in ("llama", "minicpm"):
            if "q_proj" in name:
                want = unpermute(want, config.num_attention_heads)
            if "k_proj" in name:
                want = unpermute(want, config.num_key_value_heads)
        got = state[name].numpy()
        assert got.shape == want.shape, (name, got.shape, want.shape)
        worst, seen = max(worst, float(np.abs(got - want).max())), seen + 1
    tied = config.tie_word_embeddings
    assert seen == len(state) - tied, (seen, len(state))
    print(f"{folder}: {seen} tensors equal those of {path}, largest difference {worst:g}")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    sample = Path(text).read_text()[:400_000] if text else "Hello, world! 12345 don't  stop\n\n\tnaïve 日本語 🙂👍🏽\n"
    ids = tokenizer(sample)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == sample, "the text does not come back"
    same = True
    if program:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
            f.write(sample)
            f.flush()
            command = [program, "-m", path, "-f", f.name, "--ids", "--log-disable"]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        theirs = json.loads(out.strip().splitlines()[-1])
        same = ids == theirs
        print(f"tokenizer: {len(ids)} ids, llama.cpp {len(theirs)}, the same: {same}")
    return worst == 0 and same


def check_logits(folder, path, tolerance):
    a = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    b = AutoModelForCausalLM.from_pretrained(str(Path(path).parent), gguf_file=Path(path).name, dtype=torch.float32)
    ids = torch.arange(64)[None] * 7 % a.config.vocab_size
    with torch.no_grad():
        x, y = a(ids).logits, b(ids).logits
    difference = float((x - y).abs().max() / x.abs().max())
    print(f"{folder}, {path}: logits differ by {difference:.3g} of the largest")
    return difference <= tolerance


p = argparse.ArgumentParser()
p.add_argument("what", choices=["folder", "logits"])
p.add_argument("folder")
p.add_argument("gguf")
p.add_argument("--text")
p.add_argument("--llama-tokenize")
p.add_argument("--tolerance", type=float, default=1e-4)
a = p.parse_args()
ok = check_folder(a.folder, a.gguf, a.text, a.llama_tokenize) if a.what == "folder" else check_logits(a.folder, a.gguf, a.tolerance)
sys.exit(0 if ok else 1)
