"""The four attention methods, query by query, straight from the definition of NOSA.

Everything is float64 and over the whole sequence at once, with masks where a real
implementation works step by step; nothing here is meant to be fast. For a query at position t
only what a decoding step at t could know enters: keys up to t, and pooling windows that are
complete at t. Blocks are numbered from 0; ties go to the lower number.
"""

import math

import torch

METHODS = ("full", "infllmv2", "dma", "nosa")
INF = math.inf


def windows(x, size, stride):
    """Means of x [heads, tokens, …] over complete windows: [heads, windows, …]."""
    count = max((x.shape[1] - size) // stride + 1, 0)
    if not count:
        return x[:, :0]
    return torch.stack([x[:, m * stride : m * stride + size].mean(1) for m in range(count)], dim=1)


class Margins:
    """How clear every choice was: the relative gap between the last block taken and the first left.

    Two blocks that share their best window have equal scores by construction (the window lies on
    their border); the rule for ties decides, on any machine. Those are counted, not measured.
    """

    def __init__(self):
        self.gaps = []  # (gap, (layer, kv head, position))
        self.ties, self.choices = 0, 0

    def note(self, values, count, where):
        """values: scores in the order of choice, of which the first `count` are taken."""
        if count >= len(values) or values[count - 1] == INF or values[count] == -INF:
            return
        self.choices += 1
        taken, left = values[count - 1].item(), values[count].item()
        if taken == left:
            self.ties += 1
        else:
            self.gaps.append(((taken - left) / max(abs(taken), abs(left)), where))

    @property
    def smallest(self):
        return min(self.gaps, default=(INF, None))[0]

    @property
    def at(self):
        return min(self.gaps, default=(INF, None))[1]


class Sparse:
    """An attention for decoder.Decoder. settings are sparse_config's keys, method is one of METHODS."""

    def __init__(self, settings, method, tensors):
        self.method, self.tensors = method, tensors
        self.kernel, self.stride = settings["kernel_size"], settings["kernel_stride"]
        self.block, self.init = settings["block_size"], settings["init_blocks"]
        self.local = settings["window_size"] // settings["block_size"]
        self.topk, self.topk_q = settings["topk"], settings.get("topk_q", settings["topk"])
        self.dense_len = settings["dense_len"]
        assert self.kernel == 2 * self.stride and self.block % self.stride == 0
        self.margins = Margins()
        self.chosen = {}  # layer → [tokens][kv head] → ascending block numbers

    def importance(self, layer, v):
        """s [kv heads, tokens] = A · softplus(delta · v), v of all KV heads side by side."""
        at = f"model.layers.{layer}.self_attn."
        flat = v.transpose(0, 1).reshape(v.shape[1], -1)
        x = flat @ self.tensors[at + "delta.weight"].double().T
        if at + "delta.bias" in self.tensors:
            x = x + self.tensors[at + "delta.bias"].double()
        return self.tensors[at + "A"].double()[:, None] * torch.nn.functional.softplus(x.T)

    def complete(self, t):
        """Windows that lie entirely at or before position t."""
        return max((t + 1 - self.kernel) // self.stride + 1, 0)

    def pool(self, scores, t):
        """[windows] to [blocks up to t's own]: the best of the windows that overlap the block.

        Block b is overlapped by the windows r·b − 1 … r·b + r − 1; missing ones are skipped.
        """
        r, blocks, seen = self.block // self.stride, t // self.block + 1, self.complete(t)
        padded = torch.full((r * blocks + 1,), -INF, dtype=torch.float64)
        padded[1 : seen + 1] = scores[:seen]
        return padded.unfold(0, r + 1, r).amax(-1)

    def top(self, scores, count, where):
        """The `count` best blocks of scores [blocks], as a set of numbers."""
        order = scores.sort(descending=True, stable=True)
        self.margins.note(order.values, count, where)
        return order.indices[:count].tolist()

    def select(self, layer, head, t, by_query, by_importance):
        """Chosen blocks, ascending. by_query and by_importance hold a score per window."""
        own = t // self.block
        if self.method == "full" or t < self.dense_len:
            return list(range(own + 1))
        forced = [b for b in range(own + 1) if b < self.init or b >= own - self.local]
        where = (layer, head, t)
        taken = forced
        if self.method in ("infllmv2", "nosa"):
            scores = self.pool(by_query, t)
            scores[forced] = INF
            count = self.topk if self.method == "infllmv2" else self.init + self.local + self.topk_q
            taken = self.top(scores, count, where)
        if self.method in ("dma", "nosa"):
            scores = self.pool(by_importance, t)
            scores[taken] = INF
            taken = self.top(scores, self.topk, where)
        return sorted(taken)

    def __call__(self, layer, q, k, v):
        """q [heads, tokens, dim], k and v [kv heads, tokens, dim] → [heads, tokens, dim]."""
        tokens, dim, kv_heads = q.shape[1], q.shape[2], k.shape[0]
        group = q.shape[0] // kv_heads
        biased = self.method in ("dma", "nosa")
        s = self.importance(layer, v) if biased else torch.zeros(kv_heads, tokens, dtype=torch.float64)
        s_windows = windows(s, self.kernel, self.stride)
        keys = windows(k, self.kernel, self.stride)
        self.chosen[layer] = [[None] * kv_heads for _ in range(tokens)]
        out = torch.empty_like(q)
        for h in range(kv_heads):
            mine = q[h * group : (h + 1) * group]
            logits = mine @ keys[h].T / math.sqrt(dim)
            mask = torch.full((tokens, tokens), -INF, dtype=torch.float64)
            for t in range(tokens):
                seen = self.complete(t)
                by_query = logits[:, t, :seen].softmax(-1).sum(0)
                blocks = self.select(layer, h, t, by_query, s_windows[h])
                self.chosen[layer][t][h] = blocks
                for b in blocks:
                    end = min((b + 1) * self.block, t + 1)
                    mask[t, b * self.block : end] = s[h, b * self.block : end]
            out[h * group : (h + 1) * group] = (mine @ k[h].T / math.sqrt(dim) + mask).softmax(-1) @ v[h]
        return out
