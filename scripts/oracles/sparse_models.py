"""Writes tiny models with sparse attention into model/testdata, and what they compute.

    python scripts/oracles/sparse_models.py [--example nosa_example.json] [--out model/testdata] [name …]

  nosa               NosaForCausalLM, no biases; golden-full, -infllmv2, -dma, -nosa.safetensors
  nosa-dense         the same with attention_bias (so with delta.bias) and dense_len 200; golden-nosa
  minicpm-infllmv2   MiniCPMForCausalLM with sparse_config and dense_len 200; golden-infllmv2

A golden holds, computed in float64 over 640 tokens (sparse.py, decoder.py):
  ids        int32   [640]
  logits     float32 [640, vocabulary]
  positions  int32   [P]                          every 11th and the last 20
  blocks     int32   [layers, P, kv heads, W]     the chosen blocks, ascending, -1 from the end

Where dense_len applies (position < dense_len), every visible block is chosen; `nosa` keeps its
bias there. `full` is dense without bias. Ids are drawn so that at *every* position, not only the
recorded ones, no choice hangs on a rounding error: between the last block taken and the first
left lies at least GAP of the larger score. (Exact ties of neighbours that share their best
window are left in: the rule "lower number first" decides them.) The script fails where weights
changed by one part in a million would choose otherwise, and where transformers' Llama does not
give the logits of `full`.
"""

import argparse
import json
from pathlib import Path

import torch
import transformers

from decoder import Decoder
from golden import save_golden
from sparse import METHODS, Sparse
from sparse_weights import random_weights

TOKENS, GAP = 640, 2e-4
SPARSE = {
    "kernel_size": 8,
    "kernel_stride": 4,
    "init_blocks": 1,
    "block_size": 16,
    "window_size": 32,
    "topk": 8,
    "topk_q": 3,
    "use_nope": False,
    "dense_len": 0,
}
LLAMA = {
    "architectures": ["NosaForCausalLM"],
    "model_type": "nosa",
    "vocab_size": 32,
    "hidden_size": 32,
    "intermediate_size": 32,
    "head_dim": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 0.01,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "float32",
    "sparse_config": SPARSE,
}
MINICPM = {
    **{k: v for k, v in LLAMA.items() if k != "head_dim"},
    "architectures": ["MiniCPMForCausalLM"],
    "model_type": "minicpm",
    "hidden_size": 64,
    "scale_emb": 12,
    "scale_depth": 1.4,
    "dim_model_base": 16,
    # MiniCPM4 knows no topk_q.
    "sparse_config": {k: v for k, v in SPARSE.items() if k != "topk_q"} | {"dense_len": 200},
}
MODELS = {
    "nosa": (LLAMA, METHODS),
    "nosa-dense": ({**LLAMA, "attention_bias": True, "sparse_config": {**SPARSE, "dense_len": 200}}, ("nosa",)),
    "minicpm-infllmv2": (MINICPM, ("infllmv2",)),
}


def run(config, tensors, method, ids):
    """(logits, the attention with its choices and margins)."""
    attention = Sparse(config["sparse_config"], method, tensors)
    return Decoder(config, tensors, attention).logits(ids), attention


def clear_ids(config, tensors, methods, generator):
    """Ids at which every choice of every method is clear.

    Attention looks back only, so ids before the first unclear choice stay; the id there is drawn
    anew. A choice by importance can hang on blocks far back: after a few vain draws one of the
    last 150 ids is changed instead.
    """
    vocabulary = config["vocab_size"]
    ids = torch.randint(0, vocabulary, (TOKENS,), generator=generator, dtype=torch.int32)
    worst, vain = 0, 0
    for _ in range(2000):
        first = min(first_unclear(config, tensors, method, ids) for method in methods)
        if first == TOKENS:
            return ids
        vain = vain + 1 if first <= worst else 0
        worst = max(worst, first)
        at = first
        if vain > 3:
            at -= int(torch.randint(0, min(150, first + 1), (), generator=generator))
        ids[at] = torch.randint(0, vocabulary, (), generator=generator, dtype=torch.int32)
    raise SystemExit("no ids found with clear choices: use another seed")


def first_unclear(config, tensors, method, ids):
    """The first position with a gap below GAP; TOKENS if there is none."""
    _, attention = run(config, tensors, method, ids)
    return min((where[2] for gap, where in attention.margins.gaps if gap < GAP), default=TOKENS)


def golden(config, tensors, method, ids):
    """The tensors of a golden file, its margins, and a word on how much of the choice is free."""
    logits, attention = run(config, tensors, method, ids)
    for seed in range(3):
        noise = torch.Generator().manual_seed(seed)
        near = {k: t * (1 + 1e-6 * torch.randn(t.shape, generator=noise, dtype=torch.float64)) for k, t in tensors.items()}
        if run(config, near, method, ids)[1].chosen != attention.chosen:
            raise SystemExit(f"{method}: a change of one part in a million changes the choice")
    positions = sorted(set(range(0, TOKENS, 11)) | set(range(TOKENS - 20, TOKENS)))
    layers, kv = config["num_hidden_layers"], config["num_key_value_heads"]
    width = max(len(attention.chosen[n][t][h]) for n in range(layers) for t in positions for h in range(kv))
    blocks = torch.full((layers, len(positions), kv, width), -1, dtype=torch.int32)
    for n in range(layers):
        for row, t in enumerate(positions):
            for h in range(kv):
                chosen = attention.chosen[n][t][h]
                blocks[n, row, h, : len(chosen)] = torch.tensor(chosen, dtype=torch.int32)
    tensors = {
        "ids": ids,
        "logits": logits.float().contiguous(),
        "positions": torch.tensor(positions, dtype=torch.int32),
        "blocks": blocks,
    }
    return tensors, attention.margins


def check_full(config, tensors, logits, ids):
    """transformers' Llama on the same tensors, without delta and A, is `full`."""
    keys = ("sparse_config", "architectures", "model_type", "rope_scaling", "rope_theta", "torch_dtype")
    plain = {k: v for k, v in config.items() if k not in keys}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**plain, rope_theta=config["rope_theta"]))
    model.load_state_dict({k: t for k, t in tensors.items() if "delta" not in k and not k.endswith(".A")})
    with torch.no_grad():
        theirs = model.eval()(ids[None].long()).logits[0]
    off = ((theirs - logits).abs().max() / logits.std()).item()
    print(f"  full against transformers: {off:.1e} of the standard deviation")
    if off > 3e-5:
        raise SystemExit("full attention differs from transformers' Llama")


def write(name, out, seed):
    config, methods = MODELS[name]
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("golden-*.safetensors"):
        old.unlink()
    generator = torch.Generator().manual_seed(seed)
    tensors = random_weights(config, generator)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_golden(tensors, folder / "model.safetensors", {"format": "pt"})
    ids = clear_ids(config, tensors, [m for m in methods if m != "full"], generator)
    reference = None
    for method in methods:
        result, margins = golden(config, tensors, method, ids)
        if method == "full":
            check_full(config, tensors, result["logits"], ids)
        reference = result["logits"] if reference is None else reference
        apart = ((result["logits"] - reference).abs().max() / reference.std()).item()
        save_golden(
            result,
            folder / f"golden-{method}.safetensors",
            {
                "made_by": f"scripts/oracles/sparse_models.py, torch {torch.__version__}, float64",
                "method": method,
                "seed": str(seed),
                "logits_std": f"{result['logits'].std().item():.6f}",
                "smallest_gap": f"{margins.smallest:.2e}",
            },
        )
        print(
            f"  {method:9} std {result['logits'].std():.3f}  choices {margins.choices}, of them tied {margins.ties},"
            f"  smallest gap {margins.smallest:.1e} at {margins.at}  largest distance to the first golden {apart:.2g}"
        )


def check_example(path):
    """sparse.py must reproduce the specification's worked example."""
    example = json.loads(path.read_text())
    c = example["config"]
    settings = {**c, "window_size": c["local_blocks"] * c["block_size"], "dense_len": 0}
    q, k, v = (torch.tensor(example[n], dtype=torch.float64).transpose(0, 1) for n in "qkv")
    at = "model.layers.0.self_attn."
    tensors = {
        at + "delta.weight": torch.tensor(example["delta"], dtype=torch.float64),
        at + "A": torch.tensor(example["A"], dtype=torch.float64),
    }
    for method in METHODS:
        attention, worst = Sparse(settings, method, tensors), 0.0
        out = attention(0, q, k, v)
        for position, expect in example["expect"][method].items():
            if attention.chosen[0][int(position)] != expect["blocks"]:
                raise SystemExit(f"example: {method} at {position} chooses {attention.chosen[0][int(position)]}")
            off = out[:, int(position)] - torch.tensor(expect["out"], dtype=torch.float64)
            worst = max(worst, off.abs().max().item())
        print(f"  {method:9} blocks equal, outputs within {worst:.1e}")
        if worst > 1e-8:
            raise SystemExit(f"example: {method} differs")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "model" / "testdata")
    parser.add_argument("--example", type=Path, help="first hold sparse.py against this worked example")
    parser.add_argument("names", nargs="*", help="folders to write (default: all)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.example:
        print("example")
        check_example(args.example)
    for number, name in enumerate(MODELS):
        if not args.names or name in args.names:
            print(name)
            write(name, args.out, seed=2000 + number)


if __name__ == "__main__":
    main()
