"""What KV policies keep, and what decoding over it gives, from their definitions in NumPy.

    python scripts/oracles/policies.py > policy/testdata/kept.json

Everything is float64, and a dropped token is a mask over the whole text, where the engine moves
cells; a merged one lies in the place of that which stands for it. One layer; query heads are grouped over KV heads.
"""

import json

import numpy as np

HEADS, KV, DIM, PROMPT, NEW, BLOCK = 4, 2, 8, 48, 9, 4
GROUP = HEADS // KV
INV, FACTOR = [1, 0.3, 0.07], 1.25  # of the rotation of keys
TAGS = [0] * 5 + [1] * 20 + [2] * 11 + [0] * 8 + [1] * 4  # of the prompt's tokens
KINDS = [1, 0, 0, 0, 0, 2, 0, 0, 0] * 7  # of tokens: 1 is a marker, 2 is punctuation


def inputs(seed):
    r = np.random.default_rng(seed)
    n = PROMPT + NEW
    q, k, v = r.normal(size=(n, HEADS, DIM)), r.normal(size=(n, KV, DIM)), r.normal(size=(n, KV, DIM))
    return [np.round(2 * x, 3) for x in (q, k, v)]


def weights(q, k, bias, alive, pos):
    """Of the query at pos: [KV, GROUP, pos + 1], 0 for what has been dropped."""
    out = np.zeros((KV, GROUP, pos + 1))
    for h in range(KV):
        for g in range(GROUP):
            x = k[: pos + 1, h] @ q[pos, h * GROUP + g] / np.sqrt(DIM) + bias[h, : pos + 1]
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


class WindowKV:
    """By the layer that leads a group; the only one there is."""

    def __init__(self, keep, window, observe, task, first=False):
        self.keep, self.window, self.observe, self.task, self.first = keep, window, observe, task, first

    def prompt(self, held, h, run):
        review = PROMPT - self.observe
        if review <= self.keep:
            return held
        a = sum(np.pad(run.seen[p], ((0, 0), (0, 0), (0, PROMPT - 1 - p))) for p in range(review, PROMPT))
        scores = []
        for start in range(0, review, self.window):
            x = a.reshape(HEADS, PROMPT)[:, start : min(start + self.window, review)]
            if self.task == "localization":
                x = -np.sort(-x, axis=1)[:, : self.window // 2]
            scores.append(np.inf if self.first and start == 0 else x.mean())
        drop = -(-(review - self.keep) // self.window)
        n = len(scores) - drop if drop * self.window < review else 0
        runs = best(scores, range(len(scores)), n)
        return [t for t in range(review) if t // self.window in runs] + held[review:]

    def decode(self, held, h, run):
        return held


class DBudgetKV:
    def __init__(self, loss, ranking, norm="ranked", apart=False, sinks=4, rows=8, recent=6):
        self.loss, self.ranking, self.norm, self.apart = loss, ranking, norm, apart
        self.sinks, self.rows, self.recent = sinks, rows, recent

    def order(self, h, run):
        if self.ranking == "position":
            return list(range(self.sinks, PROMPT))
        past = PROMPT - max(self.rows, self.recent)
        sums = sum(run.seen[p][h].sum(0)[:past] for p in range(PROMPT - self.rows, PROMPT))
        return sorted(range(past), key=lambda i: (sums[i], i))

    def prompt(self, held, h, run):
        norms = []
        for head in [h] if self.apart else range(KV):
            order = self.order(head, run)
            fixed = sorted(set(range(PROMPT)) - set(order)) if self.norm == "all" else []
            for g in range(GROUP):
                a = run.seen[PROMPT - 1][head, g] ** 2
                norms.append([np.sqrt(a[order[j:]].sum() + a[fixed].sum()) for j in range(len(order))])
        f = np.mean(norms, axis=0)
        c = int(np.flatnonzero((f[0] - f) / f[0] <= self.loss).max())
        order = self.order(h, run)
        if self.ranking == "attention":
            return sorted(set(held) - set(order[:c]))
        c = min(c, len(order) - self.recent)
        blocks = [b for b in range(PROMPT // BLOCK) if b * BLOCK >= self.sinks and (b + 1) * BLOCK <= self.sinks + c]
        return [t for t in held if t // BLOCK not in blocks]

    def decode(self, held, h, run):
        return held


class KVMerger:
    def __init__(self, alike, recent, top, sigma=5, values="mean", bias="none", apart=False, rows=0, keep=PROMPT):
        self.alike, self.recent, self.top, self.sigma, self.values = alike, recent, top, sigma, values
        self.bias, self.apart, self.rows, self.keep = bias, apart, rows, keep

    def runs(self, heads, run, alike):
        seen = [np.pad(run.seen[p], ((0, 0), (0, 0), (0, PROMPT - 1 - p))) for p in range(PROMPT)]
        a = sum(seen[-self.rows :])[heads].sum((0, 1))
        k = run.keys[:PROMPT, heads] / np.linalg.norm(run.keys[:PROMPT, heads], axis=2, keepdims=True)
        cos = (k[1:] * k[:-1]).sum(2).mean(1)
        past = PROMPT - self.recent
        own = set(range(past, PROMPT)) | set(best(a, range(past), self.top))
        runs = [[0]]
        for i in range(1, PROMPT):
            if i in own or i - 1 in own or cos[i - 1] <= alike:
                runs.append([])
            runs[-1].append(i)
        return [(r, max(r, key=lambda i: (a[i], -i))) for r in runs]

    def prompt(self, held, h, run):
        heads = [h] if self.apart else list(range(KV))
        alike = self.alike
        if self.keep < PROMPT:  # of all thresholds between which something changes
            k = run.keys[:PROMPT, heads] / np.linalg.norm(run.keys[:PROMPT, heads], axis=2, keepdims=True)
            cos = (k[1:] * k[:-1]).sum(2).mean(1)
            alike = max([0, *(x for x in cos - 1e-5 if len(self.runs(heads, run, x)) <= self.keep)])
        left = []
        for tokens, pivot in self.runs(heads, run, alike):
            left.append(pivot)
            far = ((run.keys[tokens, h] - run.keys[pivot, h]) ** 2).sum(1)
            square = self.sigma**2 or far.mean()
            g = np.exp(-far / (2 * square)) if len(tokens) > 1 else np.ones(1)
            g = g / g.sum()
            run.k[pivot, h] = g @ run.keys[tokens, h]
            run.v[pivot, h] = g @ run.values[tokens, h] * (len(tokens) if self.values == "count" else 1)
            run.bias[h, pivot] = np.log(len(tokens)) if self.bias == "count" else 0
        return left

    def decode(self, held, h, run):
        return held


class FastGen:
    def __init__(self, recover, local=0.3, frequent=0.3, sinks=0):
        self.recover, self.w, self.frequent, self.sinks = recover, int(local * PROMPT + 1e-9), frequent, sinks
        self.rule = {}

    def names(self, held, h, run, n, rule):
        keep = {t for t in held if t < self.sinks or KINDS[t] == 1 or KINDS[t] == 2 and rule > 0}
        if rule > 1:
            keep |= set(best(run.sums[h], held, int(np.ceil(self.frequent * n - 1e-9))))
        return keep

    def prompt(self, held, h, run):
        for rule in range(5):
            keep = self.names(held, h, run, PROMPT, rule)
            got = []
            for i in range(PROMPT):
                a = run.seen[i][h].mean(0)
                got.append(sum(a[j] for j in range(i + 1) if j in keep or rule == 3 and i - j < self.w or rule == 4))
            if np.mean(got) >= self.recover or rule == 4:
                self.rule[h] = rule
                return self.keep(held, h, run, PROMPT)

    def keep(self, held, h, run, n):
        rule = self.rule[h]
        keep = self.names(held, h, run, n, rule)
        return [t for t in held if t in keep or rule == 3 and n - 1 - t < self.w or rule == 4]

    def decode(self, held, h, run):
        return self.keep(held, h, run, len(run.seen))


class ThinK:
    """As the paper has it, by the norm of a channel's part of the logits."""

    def __init__(self, prune, window, recent):
        self.prune, self.window, self.recent = int(prune * DIM), window, recent

    def prompt(self, held, h, run):
        q = run.queries[PROMPT - self.window : PROMPT, h * GROUP : (h + 1) * GROUP].reshape(-1, DIM)
        terms = [np.linalg.norm(np.outer(q[:, j], run.keys[:PROMPT, h, j])) for j in range(DIM)]
        gone = sorted(range(DIM), key=lambda j: (terms[j], j))[: self.prune]
        run.k[: (PROMPT - self.recent) // BLOCK * BLOCK, h, gone] = 0
        return held

    def decode(self, held, h, run):
        return held


class CSP:
    """Weights with a further term in the denominator, from the logits themselves."""

    def __init__(self, heavy, recent, cross=0.5, bias=1.0, rows=512, term=1.0, extra=None):
        self.budget, self.rows, self.term, self.extra = heavy + recent, min(recent, rows), term, extra
        self.recent = min(self.budget, int(recent * bias + 1e-9))
        self.cross = int((self.budget - self.recent) * cross + 1e-9)

    def prompt(self, held, h, run):
        past = PROMPT - self.recent
        self_, cross = np.zeros(past), np.zeros(past)
        for i in range(PROMPT - self.rows, PROMPT):
            x = np.exp(run.keys[: i + 1, h] @ run.queries[i, h * GROUP : (h + 1) * GROUP].T / np.sqrt(DIM))
            w = np.pad((x / (self.term + x.sum(0))).sum(1), (0, PROMPT - 1 - i))[:past]
            own = np.array([TAGS[j] == TAGS[i] for j in range(past)])
            self_, cross = self_ + w * own, cross + w * ~own
        asking = {TAGS[i] for i in range(PROMPT - self.rows, PROMPT)}
        mine = [j for j in range(past) if TAGS[j] in asking]
        theirs = [j for j in range(past) if asking - {TAGS[j]}]
        slots = self.budget - self.recent
        one = best(self_, mine, slots - self.cross)
        two = best(cross, [j for j in theirs if j not in one], self.cross)
        got = one + two
        if len(one) < slots - self.cross:
            got += best(cross, [j for j in theirs if j not in got], slots - len(got))
        if len(two) < self.cross:
            got += best(self_, [j for j in mine if j not in got], slots - len(got))
        got += [j for j in reversed(range(past)) if j not in got][: slots - len(got)]
        keep = sorted(got) + held[past:]
        if self.extra:
            first = min(set(held) - set(keep))
            run.k[first, h], run.v[first, h], run.bias[h, first] = 0, 0, np.log(self.extra)
            keep = sorted(keep + [first])
        return keep

    def decode(self, held, h, run):
        return held


def turn(k, pos, back):
    """Keys [..., DIM] rotated to a position, or back: pairs are halves, the last channels stay."""
    n = len(INV)
    z = (k[..., :n] + 1j * k[..., n : 2 * n]) * (FACTOR * np.exp(1j * pos * np.array(INV))) ** (-1 if back else 1)
    return np.concatenate([z.real, z.imag, k[..., 2 * n :]], -1)


class DeltaKV:
    def __init__(self, stride, near, bits, sinks, recent, batch, together=False):
        self.stride, self.near, self.bits, self.sinks, self.recent = stride, near, bits, sinks, recent
        self.batch, self.together = batch * BLOCK, together

    def step(self, run, n):
        to = n - self.recent
        if to <= 0 or to % self.batch:
            return
        x = np.array([np.stack([turn(run.keys[p], p, True), run.values[p]], 1) for p in range(to)])  # [n, KV, 2, DIM]
        refs = [p for p in range(to) if p < self.sinks or p % self.stride == 0]
        for p in range(to - self.batch, to):
            if p in refs:
                continue
            mine = sorted((((x[p] - x[q]) ** 2).sum(), q) for q in refs if q <= p)[: self.near]
            mean = np.mean([x[q] for _, q in mine], axis=0)
            e = (x[p] - mean).reshape(KV, -1, 2 * DIM if self.together else DIM)
            levels = 2**self.bits - 1
            least = e.min(2, keepdims=True).astype(np.float16).astype(float)
            scale = ((e.max(2, keepdims=True) - least) / levels).astype(np.float16).astype(float)
            code = np.rint(np.clip((e - least) / (scale + 1e-6), 0, levels))
            y = (code * scale + least).reshape(KV, 2, DIM) + mean
            run.k[p], run.v[p] = turn(y[:, 0], p, False), y[:, 1]

    def prompt(self, held, h, run):
        return held

    decode = prompt


class TCA:
    def __init__(self, mu, sigma, event, sink, local, rows, end=False):
        self.event, self.sink, self.local, self.rows, self.end = event, sink, local, rows, end
        sizes = [2**i for i in range(BLOCK.bit_length())]
        p = np.exp(-((np.log2(sizes) - mu) ** 2) / (2 * sigma**2))
        p = event * p / p.sum()
        n = np.floor(p + 1e-9).astype(int)
        for i in sorted(range(len(p)), key=lambda i: (-round(p[i] - n[i], 9), -i))[: event - n.sum()]:
            n[i] += 1
        self.sizes = [k for k, blocks in zip(sizes, n) for _ in range(blocks)]

    def step(self, run, n):
        size = self.event * BLOCK
        for e in range(n // size + 1):
            start = self.sink + e * size
            due = start + size + self.local
            if n != (max(due, PROMPT) if self.end else due):
                continue
            for h in range(KV):
                a = sum(np.pad(run.seen[p][h].sum(0), (0, n - 1 - p)) for p in range(n - self.rows, n)) / (GROUP * self.rows)
                blocks = [list(range(start + b * BLOCK, start + (b + 1) * BLOCK)) for b in range(self.event)]
                m = np.array([a[b].sum() for b in blocks])
                c = np.array([a[b].sum() ** 2 / (BLOCK * (a[b] ** 2).sum()) for b in blocks])
                u = c * m / m.mean()
                for k, b in zip(self.sizes, sorted(range(self.event), key=lambda b: (u[b], b))):
                    run.alive[h, sorted(set(blocks[b]) - set(best(a, blocks[b], k)))] = False

    def prompt(self, held, h, run):
        return held

    decode = prompt


class Run:
    def __init__(self, method, seed):
        q, k, v = inputs(seed)
        self.queries, self.keys, self.values = q, k, v
        self.k, self.v, self.bias = k.copy(), v.copy(), np.zeros((KV, PROMPT + NEW))
        self.alive = alive = np.ones((KV, PROMPT + NEW), bool)
        self.sums, self.seen, self.kept, self.outputs = np.zeros((KV, PROMPT + NEW)), [], [], []
        for pos in range(PROMPT + NEW):
            w = weights(q, self.k, self.bias, alive, pos)
            self.seen.append(w)
            self.sums[:, : pos + 1] += w.sum(1)
            out = np.einsum("hgn,nhd->hgd", w, self.v[: pos + 1]).reshape(HEADS, DIM).tolist()
            if hasattr(method, "step"):
                method.step(self, pos + 1)
            if pos + 1 < PROMPT:
                continue
            self.outputs.append(out)
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
    "windowkv:keep=13,window=5,observe=7,task=localization": WindowKV(13, 5, 7, "localization"),
    "windowkv:keep=20,window=6,observe=4,task=aggregation": WindowKV(20, 6, 4, "aggregation"),
    "windowkv:keep=9,window=4,observe=3,task=aggregation,first=keep": WindowKV(9, 4, 3, "aggregation", True),
    "windowkv:keep=3,window=10,observe=3,task=localization": WindowKV(3, 10, 3, "localization"),
    "dbudgetkv:loss=.02,recent=6,whole=0": DBudgetKV(0.02, "position"),
    "dbudgetkv:loss=.3,sinks=3,recent=6,whole=0": DBudgetKV(0.3, "position", sinks=3),
    "dbudgetkv:loss=.1,norm=all,recent=6,whole=0": DBudgetKV(0.1, "position", "all"),
    "dbudgetkv:loss=.05,ranking=attention,recent=6,whole=0": DBudgetKV(0.05, "attention"),
    "dbudgetkv:loss=.1,ranking=attention,heads=apart,rows=3,recent=9,whole=0": DBudgetKV(0.1, "attention", apart=True, rows=3, recent=9),
    "dbudgetkv:loss=.2,ranking=attention,norm=all,rows=5,recent=2,whole=0": DBudgetKV(0.2, "attention", "all", rows=5, recent=2),
    "kvmerger:alike=.3,recent=6,top=5,first=0,last=0": KVMerger(0.3, 6, 5),
    "kvmerger:alike=0,recent=6,top=5,sigma=0,values=count,bias=count,first=0,last=0": KVMerger(0, 6, 5, 0, "count", "count"),
    "kvmerger:alike=.2,recent=10%,top=10%,sigma=2,runs=apart,rows=7,first=0,last=0": KVMerger(0.2, 4, 4, 2, apart=True, rows=7),
    "kvmerger:keep=60%,recent=1,top=3,first=0,last=0": KVMerger(0, 1, 3, keep=28),
    "fastgen:recover=.15": FastGen(0.15),
    "fastgen:recover=.35": FastGen(0.35),
    "fastgen:recover=.6,frequent=.2": FastGen(0.6, frequent=0.2),
    "fastgen:recover=.7,local=.25,frequent=.1,sinks=2": FastGen(0.7, 0.25, 0.1, 2),
    "fastgen:recover=.95": FastGen(0.95),
    "csp:heavy=10,recent=8": CSP(10, 8),
    "csp:heavy=25%,recent=3,cross=.3,term=7": CSP(12, 3, 0.3, term=7),
    "csp:heavy=30,recent=4,cross=.1,bias=.5": CSP(30, 4, 0.1, 0.5),
    "csp:heavy=14,recent=9,bias=1.5,rows=2,decode=extra,extra=5": CSP(14, 9, bias=1.5, rows=2, extra=5),
    "csp:heavy=38,recent=2,cross=.9,decode=extra,extra=.3": CSP(38, 2, 0.9, extra=0.3),
    "deltakv:stride=4,near=3,bits=3,sinks=3,recent=6,batch=2,whole=none": DeltaKV(4, 3, 3, 3, 6, 2),
    "deltakv:stride=3,near=9,bits=8,sinks=1,recent=0,batch=1,scales=together,whole=none": DeltaKV(3, 9, 8, 1, 0, 1, True),
    "tca:mu=1,sigma=1,event=2,sink=5,local=4,rows=3": TCA(1, 1, 2, 5, 4, 3),
    "tca:mu=.5,sigma=2,event=4,sink=0,local=7,rows=7": TCA(0.5, 2, 4, 0, 7, 7),
    "tca:mu=1.5,sigma=.5,event=3,sink=1,local=3,rows=2,select=end": TCA(1.5, 0.5, 3, 1, 3, 2, True),
    "think:prune=.5,window=6,recent=9": ThinK(0.5, 6, 9),
    "think:prune=.3,window=1,recent=0": ThinK(0.3, 1, 0),
    "think:prune=.9,window=48,recent=5": ThinK(0.9, 48, 5),
}

if __name__ == "__main__":
    out = {"heads": HEADS, "kv_heads": KV, "dim": DIM, "prompt": PROMPT, "block": BLOCK, "ids": KINDS[: PROMPT + NEW], "tags": TAGS, "inv": INV, "factor": FACTOR, "inputs": [], "cases": []}
    for seed in range(2):
        out["inputs"].append({name: x.reshape(-1).tolist() for name, x in zip("qkv", inputs(seed))})
        for name, method in CASES.items():
            run = Run(method, seed)
            out["cases"].append({"policy": name, "input": seed, "kept": run.kept, "outputs": np.round(run.outputs, 7).tolist()})
    print(json.dumps(out, separators=(",", ":")).replace('{"policy"', '\n{"policy"'))
