"""The PyTorch baseline of `nosa bench decode`: a decoder of the Llama family with random bf16 weights, its decode step as
a CUDA graph over a static cache, attention by SDPA in its fastest form, as JSON lines.

    python3 scripts/bench/torch_decode.py --shape 8b --batch 48 --context 32K --products
    python3 scripts/bench/torch_decode.py --batch 1,4,16,48,96 --context 16K,32K       every pair that fits
    python3 scripts/bench/torch_decode.py --setting 48x32K --setting 96x16K            those pairs
    python3 scripts/bench/torch_decode.py --prefill 32K,128K
    python3 scripts/bench/torch_decode.py --check --device cpu                         decode against prefill, tiny

What it grants the baseline: every sequence has exactly `context` tokens, so attention reads a slice of the cache and no
mask; q, k and v are one product, gate and up another; the element-wise parts between products are fused by torch.compile
(--plain leaves them as PyTorch's own kernels); of the ways to call SDPA for grouped heads the fastest one is taken for
each setting, and all are reported. A step appends its token's key and value, and ends with the most likely token.
"""

import argparse
import json
import os
import statistics
import sys
import time

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # a handful of small kernels: a pool of compilers costs more than it gives

import torch
import torch._dynamo
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

torch._dynamo.config.recompile_limit = 64  # each batch gets kernels of its own

# Those of `nosa bench decode --shape`: two KV heads of 128, as the released NOSA models have; the rest is Llama 3's.
SHAPES = {
    "tiny": dict(layers=2, hidden=64, heads=4, kv_heads=2, dim=16, ffn=96, vocab=128, base=10000.0),
    "1b": dict(layers=16, hidden=2048, heads=16, kv_heads=2, dim=128, ffn=8192, vocab=128256, base=500000.0),
    "3b": dict(layers=28, hidden=3072, heads=24, kv_heads=2, dim=128, ffn=8192, vocab=128256, base=500000.0),
    "8b": dict(layers=32, hidden=4096, heads=32, kv_heads=2, dim=128, ffn=14336, vocab=128256, base=500000.0),
}
EPS = 1e-5
ROWS = 16384  # of a piece of a prompt
SPARE = 3 << 30  # of the device's memory, for activations and what libraries take


class Shape:
    def __init__(self, name):
        self.name = name
        self.__dict__.update(SHAPES[name])
        self.group = self.heads // self.kv_heads
        self.qkv = (self.heads + 2 * self.kv_heads) * self.dim

    def read_weights(self):
        """Parameters that a step reads: all but the embedding table, of which it reads a row."""
        layer = self.qkv * self.hidden + self.hidden * self.heads * self.dim + 3 * self.ffn * self.hidden + 2 * self.hidden
        return self.layers * layer + self.vocab * self.hidden + self.hidden

    def kv_bytes(self, batch, context):
        return self.layers * 2 * batch * self.kv_heads * context * self.dim * 2


# The element-wise parts between products.


def add_norm(x, branch, weight):
    """x + branch, and its RMS norm."""
    x = x + branch
    h = x.float()
    h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + EPS)
    return x, h.to(x.dtype) * weight


def rotate(qkv, cos, sin, heads, kv_heads, dim):
    """Queries, keys and values of rows [rows, qkv]; the first two are rotated by cos and sin [rows, dim/2]."""
    qk, v = qkv.view(qkv.shape[0], heads + 2 * kv_heads, dim).split([heads + kv_heads, kv_heads], 1)
    a, b = qk.float().chunk(2, -1)
    c, s = cos[:, None], sin[:, None]
    qk = torch.cat([a * c - b * s, b * c + a * s], -1).to(qkv.dtype)
    return qk[:, :heads], qk[:, heads:], v


def swiglu(x):
    gate, up = x.chunk(2, -1)
    return F.silu(gate) * up


# Ways to attend with one query a sequence: q [B, heads, D], k and v [B, kv_heads, T, D] → [B, heads·D].


def grouped(q, k, v):
    return F.scaled_dot_product_attention(q[:, :, None], k, v, enable_gqa=True)


def folded(q, k, v):
    """The heads of a group as the rows of one query: what they read is read once."""
    B, H, D = q.shape
    return F.scaled_dot_product_attention(q.view(B, k.shape[1], H // k.shape[1], D), k, v)


WAYS = {
    "flash, enable_gqa": (grouped, SDPBackend.FLASH_ATTENTION),
    "flash, groups as rows": (folded, SDPBackend.FLASH_ATTENTION),
    "cudnn, enable_gqa": (grouped, SDPBackend.CUDNN_ATTENTION),
    "cudnn, groups as rows": (folded, SDPBackend.CUDNN_ATTENTION),
    "efficient, groups as rows": (folded, SDPBackend.EFFICIENT_ATTENTION),
}


def attend(way, q, k, v):
    f, backend = WAYS[way] if way != "math" else (grouped, SDPBackend.MATH)
    with sdpa_kernel(backend):
        return f(q, k, v).reshape(q.shape[0], -1)


class Model:
    """Weights, and the two walks through them."""

    def __init__(self, shape, device, plain):
        self.s, self.device = shape, device
        s, dtype = shape, torch.bfloat16
        self.dtype = dtype

        def random(rows, columns, scale=1.0):
            return torch.empty(rows, columns, dtype=dtype, device=device).normal_(0, scale / columns**0.5)

        branch = (2 * s.layers) ** -0.5
        self.embedding = torch.empty(s.vocab, s.hidden, dtype=dtype, device=device).normal_()
        self.head = random(s.vocab, s.hidden)
        self.ones = torch.ones(s.hidden, dtype=dtype, device=device)
        self.layers = [
            dict(qkv=random(s.qkv, s.hidden), o=random(s.hidden, s.heads * s.dim, branch),
                 up=random(2 * s.ffn, s.hidden), down=random(s.hidden, s.ffn, branch),
                 norm1=self.ones.clone(), norm2=self.ones.clone())
            for _ in range(s.layers)
        ]
        self.frequency = s.base ** (-torch.arange(0, s.dim, 2, device=device, dtype=torch.float32) / s.dim)
        self.fused = not plain
        self.add_norm, self.rotate, self.swiglu = add_norm, rotate, swiglu
        if self.fused:
            self.add_norm, self.rotate, self.swiglu = (torch.compile(f, dynamic=False) for f in (add_norm, rotate, swiglu))

    def plain(self):
        self.fused = False
        self.add_norm, self.rotate, self.swiglu = add_norm, rotate, swiglu

    def angles(self, pos):
        a = pos[:, None].float() * self.frequency
        return a.cos(), a.sin()

    def decode(self, token, pos, place, kv, context, way):
        """A step: token [B], pos [B] the positions of its tokens, all the same, place [1] that position, kv
        [layers, 2, B, kv_heads, T, D]. Returns logits [B, vocab]."""
        s = self.s
        x = F.embedding(token, self.embedding)
        cos, sin = self.angles(pos)
        branch = torch.zeros_like(x)
        for l, cache in zip(self.layers, kv):
            x, h = self.add_norm(x, branch, l["norm1"])
            q, k, v = self.rotate(F.linear(h, l["qkv"]), cos, sin, s.heads, s.kv_heads, s.dim)
            cache[0].index_copy_(2, place, k[:, :, None])
            cache[1].index_copy_(2, place, v[:, :, None])
            a = attend(way, q, cache[0, :, :, :context], cache[1, :, :, :context])
            x, h = self.add_norm(x, F.linear(a, l["o"]), l["norm2"])
            branch = F.linear(self.swiglu(F.linear(h, l["up"])), l["down"])
        return F.linear(self.add_norm(x, branch, self.ones)[1], self.head)

    def prefill(self, token, kv, backend, rows=ROWS):
        """A prompt [T] of one sequence: attention over the whole of it, everything else in pieces of so many rows, so
        that what is compiled meets one shape. Returns its last logits [1, vocab]."""
        s, T = self.s, token.shape[0]
        x = F.embedding(token, self.embedding)
        cos, sin = self.angles(torch.arange(T, device=self.device))
        branch = torch.zeros_like(x)
        q = torch.empty(1, s.heads, T, s.dim, dtype=self.dtype, device=self.device)
        pieces = [slice(i, min(i + rows, T)) for i in range(0, T, rows)]
        for l, cache in zip(self.layers, kv):
            k, v = cache[0, :, :, :T], cache[1, :, :, :T]
            for c in pieces:
                x[c], h = self.add_norm(x[c], branch[c], l["norm1"])
                for to, row in zip((q, k, v), self.rotate(F.linear(h, l["qkv"]), cos[c], sin[c], s.heads, s.kv_heads, s.dim)):
                    to[0, :, c] = row.transpose(0, 1)
            with sdpa_kernel(backend):
                a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            a = a[0].transpose(0, 1)
            for c in pieces:
                x[c], h = self.add_norm(x[c], F.linear(a[c].reshape(-1, s.heads * s.dim), l["o"]), l["norm2"])
                branch[c] = F.linear(self.swiglu(F.linear(h, l["up"])), l["down"])
        return F.linear(self.add_norm(x[-1:], branch[-1:], self.ones)[1], self.head)


# Times, in milliseconds of the GPU.


def timed(f, n):
    """Each of n calls."""
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(n + 1)]
    marks[0].record()
    for m in marks[1:]:
        f()
        m.record()
    marks[-1].synchronize()
    return [a.elapsed_time(b) for a, b in zip(marks, marks[1:])]


def graph_of(f):
    """f as a CUDA graph, after it has run on the side for libraries to make what they keep."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            f()
    torch.cuda.current_stream().wait_stream(side)
    g = torch.cuda.CUDAGraph()
    with torch.cuda.graph(g):
        f()
    return g


def copy_bandwidth():
    """Bytes a second that a copy reads and writes."""
    a = torch.empty(1 << 31, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    timed(lambda: b.copy_(a), 3)
    return 2 * a.numel() / (statistics.median(timed(lambda: b.copy_(a), 10)) * 1e-3)


def emit(kind, **fields):
    print(json.dumps({"kind": kind, **fields}), flush=True)


def first_line(e):
    return (str(e).strip() or type(e).__name__).splitlines()[0][:200]


def best_way(model, kv, context, batch, ways):
    """Milliseconds of each way to attend, over the layers in turn, so that no cache holds the next one's; None for a
    way that this PyTorch does not have here."""
    q = torch.randn(batch, model.s.heads, model.s.dim, device="cuda", dtype=model.dtype)
    took = {}
    for way in ways:
        try:
            def layers():
                for cache in kv[: min(8, len(kv))]:
                    attend(way, q, cache[0, :, :, :context], cache[1, :, :, :context])

            g = graph_of(layers)
            took[way] = min(timed(g.replay, 4)[1:]) / min(8, len(kv))
        except RuntimeError as e:
            took[way] = None
            print(f"{way}: {first_line(e)}", file=sys.stderr)
    if not any(took.values()):
        raise RuntimeError("SDPA has no way to attend here")
    return took


def decode(model, pool, batch, context, copy, steps, ways):
    s = model.s
    kv = pool[: s.kv_bytes(batch, context) // 2].view(s.layers, 2, batch, s.kv_heads, context, s.dim)
    took = best_way(model, kv, context, batch, ways)
    way = min((w for w in took if took[w]), key=took.get)
    token = torch.zeros(batch, dtype=torch.long, device="cuda")
    pos = torch.full((batch,), context - 1, device="cuda")
    place = torch.full((1,), context - 1, device="cuda")

    def step():
        token.copy_(model.decode(token, pos, place, kv, context, way).argmax(-1))

    g = graph_of(step)
    timed(g.replay, 3)
    ms = sorted(timed(g.replay, steps))
    median = statistics.median(ms)
    weights, cache = 2 * s.read_weights(), s.kv_bytes(batch, context)
    emit("baseline", system="pytorch", shape=s.name, batch=batch, context=context, attention="full", weights="bf16", kv_dtype="bf16",
         steps=steps, ms=median, ms_min=ms[0], ms_max=ms[-1], ms_deviation=statistics.pstdev(ms), tokens_per_second=batch / median * 1e3,
         bytes=dict(weights=weights, blocks=cache, means=0, bus=0), roofline_ms=(weights + cache) / copy * 1e3,
         fraction=(weights + cache) / (median * 1e-3) / copy, copy_bandwidth=copy, sdpa=way, sdpa_ms_per_layer=took, fused=model.fused)


def prefill(model, pool, tokens, backend, name):
    s = model.s
    kv = pool[: s.kv_bytes(1, tokens) // 2].view(s.layers, 2, 1, s.kv_heads, tokens, s.dim)
    token = torch.randint(s.vocab, (tokens,), device="cuda")
    model.prefill(token[: ROWS + tokens % ROWS], kv, backend)
    runs = 3 if tokens <= 1 << 16 else 1
    ms = sorted(timed(lambda: model.prefill(token, kv, backend), runs))
    median = statistics.median(ms)
    products = 2 * (s.read_weights() - s.vocab * s.hidden) * tokens
    attention = 2 * s.layers * s.heads * s.dim * tokens * tokens  # two products over half of the square
    emit("baseline_prefill", system="pytorch", shape=s.name, tokens=tokens, attention="full", sdpa=name, runs=runs, ms=median, ms_min=ms[0],
         ms_max=ms[-1], tokens_per_second=tokens / median * 1e3, flops=products + attention, tflops_per_second=(products + attention) / median / 1e9,
         fused=model.fused)


def products(model, rows_list, copy):
    """cuBLAS on the weights of all layers in turn: 32 sets, so that a set has left the cache when it comes again."""
    s = model.s
    kinds = [(name, [l[name] for l in model.layers]) for name in ("qkv", "o", "up", "down")] + [("head", [model.head] * 4)]
    for rows in rows_list:
        whole = bytes_of_all = 0
        for name, sets in kinds:
            x = torch.randn(rows, sets[0].shape[1], device="cuda", dtype=model.dtype)

            def run():
                for w in sets:
                    F.linear(x, w)

            g = graph_of(run)
            ms = min(timed(g.replay, 6)[1:]) / len(sets)
            n, k = sets[0].shape
            emit("product", system="cublas", shape=s.name, product=name, n=n, k=k, rows=rows, us=ms * 1e3, gb_per_second=2 * n * k / ms / 1e6,
                 fraction=2 * n * k / (ms * 1e-3) / copy, tflops_per_second=2 * n * k * rows / ms / 1e9)
            times = 1 if name == "head" else s.layers
            whole += times * ms
            bytes_of_all += times * 2 * n * k
        emit("products", system="cublas", shape=s.name, rows=rows, ms=whole, bytes=bytes_of_all, gb_per_second=bytes_of_all / whole / 1e6,
             fraction=bytes_of_all / (whole * 1e-3) / copy)


def check(device):
    """The logits of a token that is decoded are those of the prompt that ends with it."""
    torch.manual_seed(1)
    s = Shape("tiny")
    model = Model(s, device, plain=device == "cpu")
    ways = ["math"] if device == "cpu" else ["math", *WAYS]
    token = torch.randint(s.vocab, (37,), device=device)
    whole = torch.zeros(s.layers, 2, 1, s.kv_heads, 64, s.dim, device=device, dtype=model.dtype)
    want = model.prefill(token, whole, SDPBackend.MATH, rows=16).float()
    before = torch.zeros_like(whole)
    model.prefill(token[:-1], before, SDPBackend.MATH)
    pos = torch.full((1,), 36, device=device)
    for way in ways:
        kv = before.clone()
        try:
            got = model.decode(token[-1:], pos, pos, kv, 37, way).float()
        except RuntimeError as e:
            print(f"{way}: {first_line(e)}", file=sys.stderr)
            continue
        off = (got - want).abs().max().item()
        same = torch.equal(kv[..., :37, :].isnan(), whole[..., :37, :].isnan()) and (kv[..., :37, :].float() - whole[..., :37, :].float()).abs().max().item() < 0.05
        emit("check", sdpa=way, largest_difference=off, cache_equal=same)
        if not off < 0.05 * want.abs().max().item() or not same:
            sys.exit(f"{way}: logits differ by {off:.3g}, of {want.abs().max().item():.3g}")


def number(text):
    return int(text[:-1]) * 1024 if text[-1] in "kK" else int(text)


def numbers(text):
    return [number(t) for t in text.split(",")]


def setting(text):
    batch, _, context = text.partition("x")
    return int(batch), number(context)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shape", choices=sorted(SHAPES), default="8b")
    p.add_argument("--batch", type=numbers, default=[], metavar="N,…")
    p.add_argument("--context", type=numbers, default=[], metavar="N,…", help="tokens, 32768 or 32K")
    p.add_argument("--setting", type=setting, action="append", default=[], metavar="BATCHxCONTEXT")
    p.add_argument("--steps", type=int, default=24, help="replays of a step (%(default)s)")
    p.add_argument("--prefill", type=numbers, default=[], metavar="N,…")
    p.add_argument("--sdpa", choices=["flash", "cudnn"], action="append", help="of --prefill; both")
    p.add_argument("--products", action="store_true", help="times of cuBLAS for the shape's products")
    p.add_argument("--rows", type=numbers, default=[1, 8, 64, 256], metavar="N,…", help="of --products")
    p.add_argument("--plain", action="store_true", help="no torch.compile for what is between products")
    p.add_argument("--check", action="store_true", help="decode against prefill in a tiny shape, and nothing else")
    p.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: for --check")
    a = p.parse_args()
    if a.check:
        with torch.inference_mode():
            return check(a.device)
    if a.device == "cpu" or not torch.cuda.is_available():
        sys.exit("torch_decode.py: there is no GPU for PyTorch here; --check --device cpu needs none")
    began = time.time()
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True
    s = Shape(a.shape)
    pairs = a.setting + [(b, c) for c in a.context for b in a.batch]
    with torch.inference_mode():
        copy = copy_bandwidth()
        torch.cuda.empty_cache()
        emit("baseline_machine", device=torch.cuda.get_device_name(), torch=torch.__version__, cuda=torch.version.cuda,
             cudnn=torch.backends.cudnn.version(), copy_bandwidth=copy, weight_bytes=2 * s.read_weights(), memory=torch.cuda.mem_get_info()[0])
        model = Model(s, "cuda", a.plain)
        if model.fused:
            try:
                model.decode(*(torch.zeros(n, dtype=torch.long, device="cuda") for n in (2, 2, 1)),
                             torch.zeros(s.layers, 2, 2, s.kv_heads, 64, s.dim, device="cuda", dtype=model.dtype), 64, "math")
            except Exception as e:  # whatever torch.compile lacks here: its own kernels do
                print(f"torch.compile: {first_line(e)}; going on with --plain", file=sys.stderr)
                model.plain()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        if a.products:
            products(model, a.rows, copy)
        free = torch.cuda.mem_get_info()[0] - SPARE
        fits = []
        for batch, context in pairs:
            need = s.kv_bytes(batch, context)
            if need > free:
                emit("baseline", system="pytorch", shape=s.name, batch=batch, context=context, attention="full", weights="bf16", kv_dtype="bf16",
                     error=f"does not fit: the cache takes {need / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free")
            else:
                fits.append((batch, context))
        prompts = [t for t in a.prefill if s.kv_bytes(1, t) + t * 2 * (5 * s.hidden + 2 * s.qkv) < free]
        for t in set(a.prefill) - set(prompts):
            emit("baseline_prefill", system="pytorch", shape=s.name, tokens=t, attention="full", error="does not fit")
        sizes = [s.kv_bytes(*f) for f in fits] + [s.kv_bytes(1, t) for t in prompts]
        if sizes:
            pool = torch.empty(max(sizes) // 2, dtype=model.dtype, device="cuda")
            for part in pool.split(1 << 28):
                part.normal_()
        for batch, context in fits:
            try:
                decode(model, pool, batch, context, copy, max(a.steps, 20), list(WAYS))
            except RuntimeError as e:  # out of memory too
                emit("baseline", system="pytorch", shape=s.name, batch=batch, context=context, attention="full", weights="bf16", kv_dtype="bf16",
                     error=first_line(e))
        for tokens in prompts:
            for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION)):
                if a.sdpa and name not in a.sdpa:
                    continue
                try:
                    prefill(model, pool, tokens, backend, name)
                except RuntimeError as e:
                    emit("baseline_prefill", system="pytorch", shape=s.name, tokens=tokens, attention="full", sdpa=name, error=first_line(e))
        emit("baseline_end", seconds=time.time() - began)


if __name__ == "__main__":
    main()
