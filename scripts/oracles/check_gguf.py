"""Reads a GGUF with the gguf package of llama.cpp's authors, and compares it with a folder.

    python scripts/oracles/check_gguf.py FILE [FOLDER] [--tolerance T] [--tensors]

Prints the metadata and the tensors by type. With a Hugging Face FOLDER every tensor of either
side must have its counterpart, equal after expansion to float32: exactly, or within T times the
tensor's largest magnitude (for quantised files; Q8_0 needs 0.004, Q4_0 0.07). Exit 1 if not.

llama.cpp rotates neighbouring pairs where Hugging Face rotates halves, so writers for its
architectures `llama` and `minicpm` reorder the rows of q and k (weights and biases) head by head:
row 2i of a head is Hugging Face's row i, row 2i+1 its row i + dim/2. Other architectures
(qwen2, qwen3) keep the rows.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import gguf
import numpy as np

# GGUF's names for tensors of a layer, and Hugging Face's.
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
REORDERED = {"llama", "minicpm"}


def expand(reader):
    """All tensors as float32, by their GGUF names, shapes as Hugging Face writes them."""
    out = {}
    for t in reader.tensors:
        shape = tuple(int(n) for n in reversed(t.shape))
        out[t.name] = np.ascontiguousarray(gguf.dequantize(t.data, t.tensor_type).reshape(shape).astype(np.float32))
    return out


def hf_name(name):
    """blk.3.attn_q.weight → model.layers.3.self_attn.q_proj.weight; None where there is none."""
    stem, _, kind = name.rpartition(".")
    if stem in TOP:
        return f"{TOP[stem]}.{kind}"
    if stem.startswith("blk."):
        _, layer, part = stem.split(".", 2)
        if part in LAYER:
            return f"model.layers.{layer}.{LAYER[part]}.{kind}"
    return None


def halves(x, heads):
    """From pairs back to halves: undoes the writer's reordering of the rows of q or k."""
    dim = x.shape[0] // heads
    return x.reshape(heads, dim // 2, 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def hf_tensors(tensors, config, reorder=True):
    """Tensors under Hugging Face names and in its order; unknown ones keep their name."""
    out = {}
    for name, x in tensors.items():
        new = hf_name(name) or name
        if reorder and ".q_proj." in new:
            x = halves(x, config["num_attention_heads"])
        if reorder and ".k_proj." in new:
            x = halves(x, config["num_key_value_heads"])
        out[new] = np.ascontiguousarray(x)
    return out


def read_folder(folder):
    """All tensors of a Hugging Face folder in float32 (bfloat16 included, hence torch)."""
    from safetensors.torch import load_file

    out = {}
    for file in sorted(folder.glob("model*.safetensors")):
        out |= {k: t.float().numpy() for k, t in load_file(file).items()}
    return out


def compare(ours, theirs, tied, tolerance):
    """Prints every difference, returns how many."""
    bad = 0
    extra = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}
    for name in sorted((set(ours) | set(theirs)) - extra):
        if name not in theirs or name not in ours:
            if name == "lm_head.weight" and tied:
                continue
            bad += 1
            print(f"only in the {'file' if name in ours else 'folder'}: {name}")
            continue
        a, b = ours[name], theirs[name]
        if a.shape != b.shape:
            bad += 1
            print(f"{name}: shape {a.shape} in the file, {b.shape} in the folder")
            continue
        off = np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)
        if not off <= tolerance:
            bad += 1
            print(f"{name}: differs by {off:.2e} of its largest magnitude")
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--tolerance", type=float, default=0.0)
    parser.add_argument("--tensors", action="store_true", help="list every tensor")
    args = parser.parse_args()

    reader = gguf.GGUFReader(args.file)
    for key, field in reader.fields.items():
        value = field.contents()
        text = f"[{len(value)} values] {value[:4]}" if isinstance(value, list) and len(value) > 16 else repr(value)
        print(f"{key} = {text[:160]}")
    types = Counter(t.tensor_type.name for t in reader.tensors)
    print(f"{len(reader.tensors)} tensors: {dict(types)}")
    for t in reader.tensors if args.tensors else []:
        print(f"  {t.name:32} {[int(n) for n in t.shape]} {t.tensor_type.name} at {int(t.data_offset)}")
    tensors = expand(reader)
    wrong = [name for name, x in tensors.items() if not np.isfinite(x).all()]
    for name in wrong:
        print(f"{name}: holds values that are not finite")
    if not args.folder:
        return 1 if wrong else 0

    config = json.loads((args.folder / "config.json").read_text())
    arch = reader.get_field("general.architecture").contents()
    ours = hf_tensors(tensors, config, reorder=arch in REORDERED)
    theirs = read_folder(args.folder)
    bad = compare(ours, theirs, config.get("tie_word_embeddings", False), args.tolerance)
    print(f"{len(theirs)} tensors of {args.folder} compared: {bad} differ")
    return 1 if wrong or bad else 0


if __name__ == "__main__":
    sys.exit(main())
