"""Makes compute/testdata/gradients.json: what PyTorch's autograd and AdamW make of the ops of training.

    python scripts/oracles/gradients.py compute/testdata/gradients.json

Needs torch and numpy. Inputs are float32; results are those of float64. Each op runs in float32 too, and how far that is
off, relative to the largest element of a result, stands beside it (`float32`).
"""

import base64
import json
import sys

import numpy as np
import torch
import torch.nn.functional as F

rng = np.random.default_rng(20261201)


def normal(*shape, scale=1.0):
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def pack(array):
    array = np.ascontiguousarray(array)
    kind = np.int32 if array.dtype.kind == "i" else np.float32
    return {"shape": list(array.shape), "data": base64.b64encode(array.astype(kind).tobytes()).decode()}


def differentiate(op, inputs, grads, dtype):
    """op's result and the gradients of inputs for the gradient `grads` of the result."""
    leaves = {name: torch.tensor(x, dtype=dtype, requires_grad=True) for name, x in inputs.items()}
    out = op(**leaves)
    out.backward(torch.tensor(grads, dtype=dtype))
    return {"out": out.detach().numpy()} | {"d" + name: leaf.grad.numpy() for name, leaf in leaves.items()}


def case(op, run, inputs, **settings):
    """run(dtype) gives the results by name."""
    want, single = run(torch.float64), run(torch.float32)
    off = max(np.abs(single[n] - want[n]).max(initial=0) / max(np.abs(want[n]).max(initial=0), 1e-300) for n in want)
    return {"op": op, "settings": settings, "float32": float(off),
            "inputs": {n: pack(x) for n, x in inputs.items()}, "want": {n: pack(x) for n, x in want.items()}}


def autograd(name, op, inputs, shape, extra={}, **settings):
    dy = normal(*shape)
    return case(name, lambda dtype: differentiate(op, inputs, dy, dtype), inputs | {"dy": dy} | extra, **settings)


def linear(rows, n, k, bias):
    inputs = {"x": normal(rows, k), "weight": normal(n, k)}
    if bias:
        inputs["bias"] = normal(n)
    return autograd("linear", lambda x, weight, bias=None: F.linear(x, weight, bias), inputs, (rows, n))


def embed(rows, vocab, width):
    ids = rng.integers(0, vocab, rows).astype(np.int32)
    return autograd("embed", lambda table: F.embedding(torch.tensor(ids, dtype=torch.long), table),
                    {"table": normal(vocab, width)}, (rows, width), {"ids": ids})


def norm(rows, width, eps, scale=1.0):
    return autograd("norm", lambda x, weight: F.rms_norm(x, (width,), weight, eps),
                    {"x": normal(rows, width, scale=scale), "weight": normal(width)}, (rows, width), eps=eps)


def rotate(rows, heads, dim, pairs, interleaved, factor):
    position = rng.integers(0, 4096, rows).astype(np.int32)
    inv = (10000 ** (-np.arange(pairs) / pairs)).astype(np.float32)
    angle = (position.astype(np.float32)[:, None] * inv).astype(np.float64)  # as compute.Angles has it
    cos, sin = factor * np.cos(angle)[:, None], factor * np.sin(angle)[:, None]

    def op(x):
        c, s = torch.tensor(cos, dtype=x.dtype), torch.tensor(sin, dtype=x.dtype)
        a = x[..., 0 : 2 * pairs : 2] if interleaved else x[..., :pairs]
        b = x[..., 1 : 2 * pairs : 2] if interleaved else x[..., pairs : 2 * pairs]
        turned = (a * c - b * s, b * c + a * s)
        both = torch.stack(turned, -1).flatten(-2) if interleaved else torch.cat(turned, -1)
        return torch.cat((both, x[..., 2 * pairs :]), -1)

    return autograd("rotate", op, {"x": normal(rows, heads, dim)}, (rows, heads, dim), {"position": position, "inv": inv},
                    interleaved=interleaved, factor=factor)


def swiglu(n, scale):
    return autograd("swiglu", lambda gate, up: F.silu(gate) * up, {"gate": normal(n, scale=scale), "up": normal(n)}, (n,))


def importance(rows, heads, dim, bias, scale):
    inputs = {"v": normal(rows, heads * dim, scale=scale), "delta": normal(heads, heads * dim), "a": normal(heads)}
    if bias:
        inputs["bias"] = normal(heads)
    return autograd("importance", lambda v, delta, a, bias=None: a * F.softplus(F.linear(v, delta, bias)), inputs, (rows, heads))


def cross_entropy(rows, vocab, spread, scale):
    logits = normal(rows, vocab, scale=spread)
    targets = rng.integers(-1, vocab, rows).astype(np.int32)
    targets[0] = -1

    def run(dtype):
        x = torch.tensor(logits, dtype=dtype, requires_grad=True)
        loss = F.cross_entropy(x, torch.tensor(targets, dtype=torch.long), reduction="none", ignore_index=-1)
        (scale * loss.sum()).backward()
        return {"loss": loss.detach().numpy(), "dlogits": x.grad.numpy()}

    return case("cross_entropy", run, {"logits": logits, "targets": targets}, scale=scale)


def adamw(n, steps, rate, decay, scale):
    """Moments and weights after so many steps; each has its own rate and its own factor on the gradient."""
    beta1, beta2, eps = (float(np.float32(b)) for b in (0.9, 0.95, 1e-8))
    weight, grads = normal(n), normal(steps, n, scale=scale)
    rates = [rate * (i + 1) / steps for i in range(steps)]
    factors = [1 / (i + 1) for i in range(steps)]

    def run(dtype):
        w = torch.nn.Parameter(torch.tensor(weight, dtype=dtype))
        optimiser = torch.optim.AdamW([w], betas=(beta1, beta2), eps=eps, weight_decay=decay)
        for step_rate, factor, grad in zip(rates, factors, grads):
            optimiser.param_groups[0]["lr"] = step_rate
            w.grad = torch.tensor(grad, dtype=dtype) * factor
            optimiser.step()
        state = optimiser.state[w]
        return {"weight": w.detach().numpy(), "m": state["exp_avg"].numpy(), "v": state["exp_avg_sq"].numpy()}

    return case("adamw", run, {"weight": weight, "grads": grads}, rates=rates, factors=factors, decay=decay,
                beta1=beta1, beta2=beta2, eps=eps)


def main():
    cases = [
        linear(1, 1, 1, True), linear(7, 5, 3, False), linear(33, 20, 17, True), linear(50, 31, 64, False),
        embed(1, 1, 3), embed(40, 9, 16),
        norm(1, 1, 1e-5), norm(9, 33, 1e-6), norm(20, 64, 1e-5, 1e-3), norm(4, 16, 1e-5, 30.0),
        rotate(3, 2, 8, 4, False, 1.0), rotate(5, 3, 12, 4, False, 1.25), rotate(4, 2, 16, 8, True, 0.5), rotate(4, 1, 10, 3, True, 1.0),
        swiglu(1, 1.0), swiglu(257, 3.0), swiglu(100, 40.0),
        importance(1, 1, 1, True, 1.0), importance(19, 2, 8, False, 1.0), importance(30, 3, 5, True, 3.0), importance(8, 2, 16, True, 20.0),
        cross_entropy(1, 3, 1.0, 1.0), cross_entropy(12, 101, 2.0, 0.125), cross_entropy(5, 64, 50.0, 3.0),
        adamw(50, 1, 1e-3, 0.0, 1.0), adamw(60, 7, 1e-2, 0.1, 1e-3), adamw(20, 40, 3e-4, 0.01, 100.0),
    ]
    with open(sys.argv[1], "w") as f:
        json.dump({"torch": torch.__version__.split("+")[0], "cases": cases}, f, indent=1)
        f.write("\n")


main()
