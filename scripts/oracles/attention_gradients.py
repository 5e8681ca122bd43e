"""Writes what PyTorch's autograd computes in float64 for attention over packed documents.

    python scripts/oracles/attention_gradients.py [--out compute/computetest/testdata/attention_gradients.json]

The file is a list of cases: lengths of documents, block (tokens), kv_heads, group and dim; q
and dout [rows, heads, dim], k and v [rows, kv heads, dim] and s [rows, kv heads] (absent in a
case without bias), flat; blocks [rows][kv heads]: the numbers of the selected blocks of the
row's own document, or null for all. Then what follows from them, to eight digits: out, lse
[rows, heads], and dq, dk, dv, ds, the gradients of the sum of out·dout. A row attends to the
tokens up to itself of its selected blocks; its logits are q·k/√dim + s.

A case with bias also has received, what the attention that tokens received from far rows teaches s (compute's
ReceivedLoss): loss [kv heads] is the sum over documents, rows and query heads of the cross-entropy between a row's weights,
which are constants, and the softmax of s over all tokens from block init on that lie more than local blocks before the
row's own; weight [kv heads] is the sum of these weights, ds [rows, kv heads] the loss's gradient.
"""

import argparse
import json
import math
from pathlib import Path

import torch

CASES = [
    {"name": "full", "lengths": [1, 13, 22], "block": 8, "kv_heads": 1, "group": 3, "dim": 4, "bias": False, "sparse": False},
    {"name": "sparse", "lengths": [9, 41], "block": 4, "kv_heads": 2, "group": 2, "dim": 4, "bias": False, "sparse": True},
    {"name": "sparse with bias", "lengths": [30, 1, 17], "block": 4, "kv_heads": 2, "group": 1, "dim": 8, "bias": True, "sparse": True,
     "init": 1, "local": 1},
    {"name": "full with bias", "lengths": [7, 33], "block": 4, "kv_heads": 1, "group": 2, "dim": 8, "bias": True, "sparse": False,
     "init": 1, "local": 2},
]


def short(x):
    """Numbers of three decimals, as float32 has them."""
    return ((x * 1000).round() / 1000).float().double()


def numbers(x, digits):
    return [float(f"{v:.{digits}g}") for v in x.detach().flatten().tolist()]


def mask_of(case, generator):
    """What each row sees [kv heads, rows, rows], and its selection, of which the own block is part."""
    rows, block = sum(case["lengths"]), case["block"]
    seen = torch.zeros(case["kv_heads"], rows, rows, dtype=torch.bool)
    chosen, begin = [], 0
    for length in case["lengths"]:
        for t in range(length):
            row = []
            for h in range(case["kv_heads"]):
                own = t // block
                draw = torch.rand(own + 2, generator=generator)
                every = not case["sparse"] or draw[-1] < 0.2
                blocks = [b for b in range(own + 1) if every or b == own or draw[b] < 0.4]
                for b in blocks:
                    seen[h, begin + t, begin + b * block : begin + min((b + 1) * block, t + 1)] = True
                row.append(None if every else blocks)
            chosen.append(row)
        begin += length
    return seen, chosen


def received(case, weights, s):
    """The loss of what tokens received by KV head, and its gradient at s; weights [heads, rows, rows]."""
    losses, weight, begin = [0] * case["kv_heads"], torch.zeros(case["kv_heads"], dtype=torch.float64), 0
    for length in case["lengths"]:
        for t in range(length):
            far = slice(begin + case["init"] * case["block"], begin + (t // case["block"] - case["local"]) * case["block"])
            if far.start >= far.stop:
                continue
            for h in range(case["kv_heads"]):
                given = weights[h * case["group"] : (h + 1) * case["group"], begin + t, far].sum(0).detach()
                weight[h] += given.sum()
                losses[h] = losses[h] - (given * s[far, h].log_softmax(0)).sum()
        begin += length
    (ds,) = torch.autograd.grad(sum(losses), [s])
    sums = {"loss": numbers(torch.stack(losses), 8), "weight": numbers(weight, 8)}
    return {"init": case["init"], "local": case["local"], **sums, "ds": numbers(ds, 8)}


def compute(case, generator):
    rows, kv_heads, group, dim = sum(case["lengths"]), case["kv_heads"], case["group"], case["dim"]
    normal = lambda *shape: short(torch.randn(*shape, generator=generator, dtype=torch.float64))  # noqa: E731
    q, dout = normal(rows, kv_heads * group, dim), normal(rows, kv_heads * group, dim)
    k, v = normal(rows, kv_heads, dim), normal(rows, kv_heads, dim)
    s = normal(rows, kv_heads) if case["bias"] else None
    seen, chosen = mask_of(case, generator)
    leaves = [x for x in (q, k, v, s) if x is not None]
    for x in leaves:
        x.requires_grad_()
    keys, values = (x.repeat_interleave(group, dim=1) for x in (k, v))
    logits = torch.einsum("rhd,jhd->hrj", q, keys) / math.sqrt(dim)
    if s is not None:
        logits = logits + s.T.repeat_interleave(group, dim=0)[:, None, :]
    logits = logits.masked_fill(~seen.repeat_interleave(group, dim=0), -math.inf)
    weights = logits.softmax(-1)
    out = torch.einsum("hrj,jhd->rhd", weights, values)
    grads = torch.autograd.grad((out * dout).sum(), leaves)
    assert all(g.isfinite().all() for g in grads)
    result = {key: case[key] for key in ("name", "lengths", "block", "kv_heads", "group", "dim")}
    result |= {"q": numbers(q, 5), "k": numbers(k, 5), "v": numbers(v, 5), "dout": numbers(dout, 5)}
    result |= {"blocks": chosen, "out": numbers(out, 8), "lse": numbers(logits.logsumexp(-1).T, 8)}
    result |= {"dq": numbers(grads[0], 8), "dk": numbers(grads[1], 8), "dv": numbers(grads[2], 8)}
    if s is not None:
        result |= {"s": numbers(s, 5), "ds": numbers(grads[3], 8), "received": received(case, weights, s)}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("compute/computetest/testdata/attention_gradients.json"))
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(7)
    cases = [compute(case, generator) for case in CASES]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")
    print(args.out, args.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
