"""What KV policies keep, and what decoding over it gives, from their definitions in NumPy.

    python scripts/oracles/policies.py > policy/testdata/kept.json

Everything is float64, and a dropped token is a mask over the whole text, where the engine moves
cells. One layer; query heads are grouped over KV heads.
"""

import json

import numpy as np

HEADS, KV, DIM, PROMPT, NEW = 4, 2, 8, 48, 9
GROUP = HEADS // KV


def inputs(seed):
    r = np.random.default_rng(seed)
    n = PROMPT + NEW
    q, k, v = r.normal(size=(n, HEADS, DIM)), r.normal(size=(n, KV, DIM)), r.normal(size=(n, KV, DIM))
    return [np.round(2 * x, 3) for x in (q, k, v)]


def weights(q, k, alive, pos):
    """Of the query at pos: [KV, GROUP, pos + 1], 0 for what has been dropped."""
    out = np.zeros((KV, GROUP, pos + 1))
    for h in range(KV):
        for g in range(GROUP):
            x = k[: pos + 1, h] @ q[pos, h * GROUP + g] / np.sqrt(DIM)
            x[~alive[h, : pos + 1]] = -np.inf
            e = np.exp(x - x.max())
            out[h, g] = e / e.sum()
    return out


def best(scores, among, n):
    """The n of among with the largest scores, the lower one first where they are equal."""
    return sorted(sorted(among, key=lambda i: (-scores[i], i))[: max(n, 0)])


class Streaming:
    def __init__(self, sinks, recent):
        self.sinks, self.recent = sinks, recent

    def prompt(self, held, h, run):
        if len(held) <= self.sinks + self.recent:
            return held
        return held[: self.sinks] + held[len(held) - self.recent :]

    decode = prompt


class H2O:
    def __init__(self, heavy, recent):
        self.heavy, self.recent = heavy, recent

    def prompt(self, held, h, run):
        if len(held) <= self.heavy + self.recent:
            return held
        past = held[: len(held) - self.recent]
        return best(run.sums[h], past, self.heavy) + held[len(held) - self.recent :]

    decode = prompt


class SnapKV:
    def __init__(self, keep, window, kernel, pool):
        self.keep, self.window, self.kernel, self.pool = keep, window, kernel, pool

    def prompt(self, held, h, run):
        if len(held) <= self.keep:
            return held
        past, votes = PROMPT - self.window, 0
        for g in range(GROUP):
            mean = np.mean([run.seen[p][h, g, :past] for p in range(past, PROMPT)], axis=0)
            pad = np.pad(mean, self.kernel // 2)
            near = np.stack([pad[i : i + past] for i in range(self.kernel)])
            votes = votes + (near.max(0) if self.pool == "max" else near.mean(0)) / GROUP
        return best(votes, range(past), self.keep - self.window) + held[past:]

    def decode(self, held, h, run):
        return held


class Run:
    def __init__(self, method, seed):
        q, k, v = inputs(seed)
        alive = np.ones((KV, PROMPT + NEW), bool)
        self.sums, self.seen, self.kept, self.outputs = np.zeros((KV, PROMPT + NEW)), [], [], []
        for pos in range(PROMPT + NEW):
            w = weights(q, k, alive, pos)
            self.seen.append(w)
            self.sums[:, : pos + 1] += w.sum(1)
            if pos + 1 < PROMPT:
                continue
            self.outputs.append(np.einsum("hgn,nhd->hgd", w, v[: pos + 1]).reshape(HEADS, DIM).tolist())
            row = []
            for h in range(KV):
                held = [int(i) for i in np.flatnonzero(alive[h, : pos + 1])]
                row.append((method.prompt if pos + 1 == PROMPT else method.decode)(held, h, self))
                alive[h, : pos + 1] = False
                alive[h, row[-1]] = True
            self.kept.append(row)


CASES = {
    "streamingllm:sinks=4,recent=13": Streaming(4, 13),
    "streamingllm:sinks=0,recent=1": Streaming(0, 1),
    "h2o:heavy=8,recent=8": H2O(8, 8),
    "h2o:heavy=25%,recent=5": H2O(12, 5),
    "h2o:heavy=40,recent=12": H2O(40, 12),
    "snapkv:keep=20,window=8,kernel=5,pool=avg": SnapKV(20, 8, 5, "avg"),
    "snapkv:keep=20,window=8,kernel=7,pool=max": SnapKV(20, 8, 7, "max"),
    "snapkv:keep=50%,window=1,kernel=1": SnapKV(24, 1, 1, "max"),
    "snapkv:keep=48,window=8": SnapKV(48, 8, 7, "max"),
}

if __name__ == "__main__":
    out = {"heads": HEADS, "kv_heads": KV, "dim": DIM, "prompt": PROMPT, "inputs": [], "cases": []}
    for seed in range(2):
        out["inputs"].append({name: x.reshape(-1).tolist() for name, x in zip("qkv", inputs(seed))})
        for name, method in CASES.items():
            run = Run(method, seed)
            out["cases"].append({"policy": name, "input": seed, "kept": run.kept, "outputs": np.round(run.outputs, 7).tolist()})
    print(json.dumps(out, separators=(",", ":")).replace('{"policy"', '\n{"policy"'))
