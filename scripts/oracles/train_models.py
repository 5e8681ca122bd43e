"""Writes tiny models, what PyTorch's autograd makes of them, and how they train, into train/testdata.

    python scripts/oracles/train_models.py [--out train/testdata] [full infllmv2 dma nosa]

A folder is named after the method that it trains and holds
  config.json, model.safetensors   the model before the first step, float32
  golden.safetensors
    ids, targets   int32 [batches, rows]   target −1: the row has none (the last of a document)
    begins         int32 [documents + 1]   of every batch
    loss           float64 [1]             of batch 0: the mean over the rows that have a target
    grad.NAME      float32                 its gradient by each tensor of the model
    losses         float64 [STEPS]         before each step of training; step i takes batch i mod batches
    norms          float64 [STEPS]         of the gradient, before clipping
and in its metadata the optimiser: AdamW (rate, beta1, beta2, eps, weight_decay, clip: the largest
norm of all gradients together). Matrices and delta decay, tables, norms, biases and A do not.

All of it is float64, from the definitions in decoder.py and sparse.py; documents are computed one
by one. Selection has no gradient. Batch 0 is drawn so that at the start no choice of blocks hangs
on a rounding error: between the last block taken and the first left lies at least GAP of the larger score.
The models differ in more than the method, so that gradients of all kinds of tensors are there:
full has tied embeddings, dma has biases, infllmv2 is a Llama (dense below position 60) and nosa is plain.
"""

import argparse
import json
import math
from pathlib import Path

import torch

from decoder import Decoder
from golden import save_golden
from sparse import INF, METHODS, Sparse, windows
from sparse_weights import random_weights

BATCHES, STEPS, GAP = 8, 200, 1e-4
LENGTHS = (83, 61)
OPTIMISER = {"rate": 1e-3, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1, "clip": 1.0}
SPARSE = {
    "kernel_size": 4,
    "kernel_stride": 2,
    "init_blocks": 1,
    "block_size": 8,
    "window_size": 8,
    "topk": 6,
    "topk_q": 2,
    "use_nope": False,
    "dense_len": 0,
}
NOSA = {
    "architectures": ["NosaForCausalLM"],
    "model_type": "nosa",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "head_dim": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
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
LLAMA = {**NOSA, "architectures": ["LlamaForCausalLM"], "model_type": "llama"}
MODELS = {
    "full": {**{k: v for k, v in LLAMA.items() if k != "sparse_config"}, "tie_word_embeddings": True},
    "infllmv2": {**LLAMA, "sparse_config": {**SPARSE, "dense_len": 60}},
    "dma": {**NOSA, "attention_bias": True},
    "nosa": NOSA,
}


class Trained(Sparse):
    """Sparse, with what autograd needs: blocks are chosen without gradient, the rest is few operations."""

    def __call__(self, layer, q, k, v):
        tokens, dim, kv_heads = q.shape[1], q.shape[2], k.shape[0]
        group = q.shape[0] // kv_heads
        s = self.importance(layer, v) if self.method in ("dma", "nosa") else None
        with torch.no_grad():
            seen = self.seen(layer, q, k, s)
        logits = q @ k.repeat_interleave(group, dim=0).transpose(1, 2) / math.sqrt(dim)
        if s is not None:
            logits = logits + s.repeat_interleave(group, dim=0)[:, None]
        weights = logits.masked_fill(~seen.repeat_interleave(group, dim=0), -INF).softmax(-1)
        return weights @ v.repeat_interleave(group, dim=0)

    def seen(self, layer, q, k, s):
        """What each token sees [kv heads, tokens, tokens]."""
        kv_heads, tokens, dim = k.shape
        group = q.shape[0] // kv_heads
        keys = windows(k, self.kernel, self.stride)
        by_importance = [None] * kv_heads if s is None else windows(s, self.kernel, self.stride)
        seen = torch.zeros(kv_heads, tokens, tokens, dtype=torch.bool)
        for h in range(kv_heads):
            logits = q[h * group : (h + 1) * group] @ keys[h].T / math.sqrt(dim)
            for t in range(tokens):
                by_query = logits[:, t, : self.complete(t)].softmax(-1).sum(0)
                for b in self.select(layer, h, t, by_query, by_importance[h]):
                    seen[h, t, b * self.block : min((b + 1) * self.block, t + 1)] = True
        return seen


def text(generator):
    """A batch of ids [rows]: sentences of a language of few words, with stretches that come again."""
    chain = torch.Generator().manual_seed(1)
    follows = torch.randint(3, NOSA["vocab_size"], (NOSA["vocab_size"], 3), generator=chain)
    rows = []
    for length in LENGTHS:
        ids = [int(torch.randint(3, NOSA["vocab_size"], (), generator=generator))]
        while len(ids) < length:
            draw = float(torch.rand((), generator=generator))
            if draw < 0.03 and len(ids) > 12:
                at = int(torch.randint(0, len(ids) - 8, (), generator=generator))
                ids += ids[at : at + 8]
            else:
                ids.append(int(follows[ids[-1], int(torch.randint(0, 3, (), generator=generator))]))
        rows += ids[:length]
    return torch.tensor(rows, dtype=torch.int32)


def targets_of(ids):
    targets, begin = torch.full_like(ids, -1), 0
    for length in LENGTHS:
        targets[begin : begin + length - 1] = ids[begin + 1 : begin + length]
        begin += length
    return targets


def loss_of(config, tensors, method, ids, targets):
    """(mean loss over the rows with a target, the smallest margin of a choice)."""
    total, begin, smallest = 0.0, 0, INF
    for length in LENGTHS:
        attention = Trained(config.get("sparse_config", SPARSE), method, tensors)
        logits = Decoder(config, tensors, attention).logits(ids[begin : begin + length])
        wanted = targets[begin : begin + length].long()
        total = total + torch.nn.functional.cross_entropy(logits, wanted, ignore_index=-1, reduction="sum")
        smallest = min(smallest, attention.margins.smallest)
        begin += length
    return total / (targets >= 0).sum(), smallest


def decays(name):
    return name.endswith(("proj.weight", "delta.weight"))


def train(config, start, method, ids, targets):
    """(losses, norms) of STEPS steps of AdamW."""
    tensors = {name: t.clone().requires_grad_() for name, t in start.items()}
    o = OPTIMISER
    groups = [
        {"params": [t for n, t in tensors.items() if decays(n)], "weight_decay": o["weight_decay"]},
        {"params": [t for n, t in tensors.items() if not decays(n)], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=o["rate"], betas=(o["beta1"], o["beta2"]), eps=o["eps"])
    losses, norms = [], []
    for step in range(STEPS):
        loss, _ = loss_of(config, tensors, method, ids[step % BATCHES], targets[step % BATCHES])
        optimiser.zero_grad()
        loss.backward()
        # With no epsilon, unlike clip_grad_norm_.
        norm = torch.stack([t.grad.norm() for t in tensors.values()]).norm()
        for t in tensors.values():
            t.grad *= min(1.0, o["clip"] / norm.item())
        optimiser.step()
        losses.append(loss.item())
        norms.append(norm.item())
    return losses, norms


def write(name, out, seed):
    config, folder = MODELS[name], out / name
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    stored = random_weights(config, generator)
    if config["tie_word_embeddings"]:
        del stored["lm_head.weight"]
        stored["model.embed_tokens.weight"] *= 0.3
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_golden(stored, folder / "model.safetensors", {"format": "pt"})
    start = {key: t.double().requires_grad_() for key, t in stored.items()}
    for _ in range(200):
        first = text(generator)
        loss, smallest = loss_of(config, start, name, first, targets_of(first))
        if smallest >= GAP:
            break
    else:
        raise SystemExit("no ids found with clear choices: use another seed")
    grads = torch.autograd.grad(loss, list(start.values()))
    ids = torch.stack([first] + [text(generator) for _ in range(BATCHES - 1)])
    targets = torch.stack([targets_of(batch) for batch in ids])
    losses, norms = train(config, {key: t.detach() for key, t in start.items()}, name, ids, targets)
    golden = {"ids": ids, "targets": targets, "begins": torch.tensor([0, LENGTHS[0], sum(LENGTHS)], dtype=torch.int32)}
    golden |= {"loss": loss.detach()[None], "losses": torch.tensor(losses).double(), "norms": torch.tensor(norms).double()}
    golden |= {"grad." + key: grad.float() for key, grad in zip(start, grads, strict=True)}
    metadata = {key: str(value) for key, value in OPTIMISER.items()}
    metadata |= {"made_by": f"scripts/oracles/train_models.py, torch {torch.__version__}, float64", "method": name, "seed": str(seed)}
    save_golden(golden, folder / "golden.safetensors", metadata)
    print(f"{name:9} loss {losses[0]:.4f} to {losses[-1]:.4f}, norm {norms[0]:.3f} to {norms[-1]:.3f}, smallest gap {smallest:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("train/testdata"))
    parser.add_argument("names", nargs="*", default=METHODS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.names:
        write(name, args.out, seed=11)


if __name__ == "__main__":
    main()
