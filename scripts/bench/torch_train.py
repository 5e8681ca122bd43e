"""The PyTorch baseline of `nosa bench train`: whole training steps of a decoder of the Llama family with random weights on
random tokens, compiled by torch.compile, attention by flash SDPA, as JSON lines with the keys of `nosa bench train --json`.

    python3 scripts/bench/torch_train.py --context 2K,8K,16K
    python3 scripts/bench/torch_train.py --masters autocast --recompute layer
    python3 scripts/bench/torch_train.py --check --device cpu      attention, loss in pieces and recompute against the plain form, tiny

What it grants the baseline: a pass has documents of one length, a row of the batch each, so that attention is causal and has
no mask; q, k and v are one product, gate and up another; forward and backward are compiled whole, with the shape known
(--mode for other modes of torch.compile; --compile layers compiles one layer for all, in a fraction of the time, and
fuses nothing across layers; warm_seconds tells what it took); of the ways to call SDPA for grouped heads the fastest is taken for each
setting; AdamW is the fused one; nothing waits for the host between steps (--clip 0 leaves out the norm of the gradients, which
`nosa bench train` always takes).

Numbers, as those of nosa: float32 masters, moments and gradients, and products and activations in bf16. --masters says how:

    copies      parameters in bf16, masters in float32 beside them, to which gradients go in float32 (the default: as nosa does)
    autocast    parameters in float32 under torch.autocast, which rounds them in each pass
    bf16        no masters: parameters, gradients and moments in bf16; less than nosa computes, a bound from below

With several passes in a step copies adds gradients up in float32, autocast and bf16 in the parameters' type.
`memory` is the most that PyTorch's tensors took (max_memory_allocated), `memory_reserved` what its allocator held for them,
`memory_device` what is in use of the device, by anything. FLOP are those of `nosa bench train`: six for each weight that products
read and each token, twelve for each channel of a query and each token that it sees.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "8")
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # memory_reserved without holes

import torch
import torch._dynamo
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

torch._dynamo.config.recompile_limit = 64  # each setting has a shape of its own

# Those of `nosa bench train --shape`: SmolLM2-135M's and Llama-3.2-1B's, with one table for input and output.
SHAPES = {
    "tiny": dict(layers=2, hidden=64, heads=4, kv_heads=2, dim=16, ffn=96, vocab=150, base=10000.0),
    "135m": dict(layers=30, hidden=576, heads=9, kv_heads=3, dim=64, ffn=1536, vocab=49152, base=100000.0),
    "1b": dict(layers=16, hidden=2048, heads=32, kv_heads=8, dim=64, ffn=8192, vocab=128256, base=500000.0),
}
EPS = 1e-5
PEAKS = {(8, 0): 2048, (8, 6): 512, (8, 9): 512, (9, 0): 4096}  # FLOP of bf16 of a multiprocessor in a cycle (NVIDIA's white papers)


class Shape:
    def __init__(self, name):
        self.name = name
        self.__dict__.update(SHAPES[name])
        self.q, self.kv = self.heads * self.dim, self.kv_heads * self.dim

    def weights(self):
        """Those that products read."""
        layer = self.hidden * (self.q + 2 * self.kv) + self.q * self.hidden + 3 * self.hidden * self.ffn
        return self.layers * layer + self.vocab * self.hidden

    def work(self, context, tokens):
        """FLOP of a step, as `nosa bench train` counts them."""
        pairs = context * (context + 1) // 2 * (tokens // context)
        return dict(products=6 * self.weights() * tokens, attention=12 * self.layers * self.q * pairs)


# Ways to attend: q [B, H, T, D], k and v [B, KV, T, D].


def grouped(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


def expanded(q, k, v):
    n = q.shape[1] // k.shape[1]
    return F.scaled_dot_product_attention(q, k.repeat_interleave(n, 1), v.repeat_interleave(n, 1), is_causal=True)


WAYS = {
    "flash, enable_gqa": (grouped, SDPBackend.FLASH_ATTENTION),
    "flash, heads repeated": (expanded, SDPBackend.FLASH_ATTENTION),
    "cudnn, enable_gqa": (grouped, SDPBackend.CUDNN_ATTENTION),
    "cudnn, heads repeated": (expanded, SDPBackend.CUDNN_ATTENTION),
    "math, heads repeated": (expanded, SDPBackend.MATH),  # for --check
}


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        h = x.float()
        return (h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + EPS) * self.weight).to(x.dtype)


def linear(out, inner, scale=1.0):
    m = nn.Linear(inner, out, bias=False)
    nn.init.normal_(m.weight, std=0.02 * scale)
    return m


class Layer(nn.Module):
    def __init__(self, s, way):
        super().__init__()
        self.s, self.way = s, WAYS[way][0]
        branch = (2 * s.layers) ** -0.5
        self.norm1, self.norm2 = Norm(s.hidden), Norm(s.hidden)
        self.qkv, self.o = linear(s.q + 2 * s.kv, s.hidden), linear(s.hidden, s.q, branch)
        self.up, self.down = linear(2 * s.ffn, s.hidden), linear(s.hidden, s.ffn, branch)

    def forward(self, x, cos, sin):
        s, (B, T, _) = self.s, x.shape
        q, k, v = self.qkv(self.norm1(x)).view(B, T, -1, s.dim).split([s.heads, s.kv_heads, s.kv_heads], 2)
        a = self.way(rotate(q, cos, sin).transpose(1, 2), rotate(k, cos, sin).transpose(1, 2), v.transpose(1, 2))
        x = x + self.o(a.transpose(1, 2).reshape(B, T, s.q))
        gate, up = self.up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


def rotate(x, cos, sin):
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


class Model(nn.Module):
    """The sum of the losses of a pass, from ids and targets [B, T]; a target of −1 has none."""

    def __init__(self, s, context, way, recompute, head_rows):
        super().__init__()
        self.s, self.recompute, self.head_rows = s, recompute, head_rows
        self.table = nn.Embedding(s.vocab, s.hidden)
        nn.init.normal_(self.table.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(s, way) for _ in range(s.layers))
        self.norm = Norm(s.hidden)
        angle = torch.arange(context)[:, None].double() * s.base ** (-torch.arange(0, s.dim, 2).double() / s.dim)
        self.register_buffer("cos", angle.cos().float()[:, None], persistent=False)
        self.register_buffer("sin", angle.sin().float()[:, None], persistent=False)

    def compile_parts(self, **options):
        """One layer for all, the last norm and the head."""
        for m in (*self.layers, self.norm):
            m.compile(dynamic=False, fullgraph=True, **options)
        self.head = torch.compile(self.head, dynamic=False, fullgraph=True, **options)

    def head(self, h, targets):
        return F.cross_entropy(F.linear(h, self.table.weight).float(), targets, ignore_index=-1, reduction="sum")

    def forward(self, ids, targets):
        x = self.table(ids)
        for l in self.layers:
            x = checkpoint(l, x, self.cos, self.sin, use_reentrant=False) if self.recompute == "layer" else l(x, self.cos, self.sin)
        h, targets = self.norm(x).flatten(0, 1), targets.flatten()
        if not self.head_rows or self.head_rows >= h.shape[0]:
            return self.head(h, targets)
        pieces = zip(h.split(self.head_rows), targets.split(self.head_rows))  # whose logits are computed again
        return sum(checkpoint(self.head, a, b, use_reentrant=False) for a, b in pieces)


class Masters:
    """Steps of AdamW, with the numbers that --masters names, and the rates and decays of `nosa bench train`."""

    def __init__(self, model, kind, device, clip):
        self.model, self.kind, self.clip = model, kind, clip
        low = kind != "autocast"
        own = list(model.parameters())
        self.pairs = []  # a parameter in bf16 and its master
        if kind == "copies":
            for p in own:
                if p.dim() > 1:
                    m = nn.Parameter(p.detach().float())
                    m.grad = torch.zeros_like(m)
                    p.data = p.data.bfloat16()
                    self.pairs.append((p, m))
        elif low:
            for p in own:
                p.data = p.data.bfloat16()
        masters = {p: m for p, m in self.pairs}
        self.masters = [masters.get(p, p) for p in own]
        decayed = {p for n, p in model.named_parameters() if p.dim() > 1 and "table" not in n}
        groups = [dict(params=[masters.get(p, p) for p in own if (p in decayed) == d], weight_decay=0.1 if d else 0.0) for d in (True, False)]
        self.adamw = torch.optim.AdamW(groups, lr=1e-5, betas=(0.9, 0.95), eps=1e-8, fused=device == "cuda")
        self.cast = torch.autocast(device, torch.bfloat16, enabled=kind == "autocast")

    def learn(self, f, passes, scale):
        """A step: f is the model, compiled or not. Returns the mean loss before it, which stays on the device."""
        whole = 0.0
        for ids, targets in passes:
            with self.cast:
                loss = f(ids, targets) * scale
            loss.backward()
            whole = whole + loss.detach()
            if self.pairs and len(passes) > 1:
                torch._foreach_add_([m.grad for _, m in self.pairs], [p.grad for p, _ in self.pairs])
                for p, _ in self.pairs:
                    p.grad = None
        if self.pairs and len(passes) == 1:
            torch._foreach_copy_([m.grad for _, m in self.pairs], [p.grad for p, _ in self.pairs])
            for p, _ in self.pairs:
                p.grad = None
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.masters, self.clip, foreach=True)
        self.adamw.step()
        if self.pairs:
            torch._foreach_copy_([p.data for p, _ in self.pairs], [m.data for _, m in self.pairs])
        self.adamw.zero_grad(set_to_none=not self.pairs)
        return whole


def emit(kind, **fields):
    print(json.dumps({"kind": kind, **fields}), flush=True)


def first_line(e):
    return (str(e).strip() or type(e).__name__).splitlines()[0][:200]


def peak():
    """FLOP a second of the tensor cores in bf16 at the highest clock, or 0."""
    p = torch.cuda.get_device_properties(0)
    try:
        said = subprocess.run(["nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits"], capture_output=True, text=True, check=True)
        clock = float(said.stdout.split()[0])  # MHz
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError) as e:
        print(f"nvidia-smi: {first_line(e)}", file=sys.stderr)
        clock = 0
    return PEAKS.get((p.major, p.minor), 0) * p.multi_processor_count * clock * 1e6


def fastest(s, context, rows, ways):
    """Milliseconds of attention, forward and backward, in each way; None for one that this PyTorch does not have here."""
    B = rows // context
    took = {}
    for way in ways:
        f, backend = WAYS[way]
        try:
            q, k, v = (torch.randn(B, n, context, s.dim, device="cuda", dtype=torch.bfloat16, requires_grad=True) for n in (s.heads, s.kv_heads, s.kv_heads))
            with sdpa_kernel(backend):
                best = None
                for _ in range(6):
                    a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                    a.record()
                    f(q, k, v).sum().backward()
                    b.record()
                    b.synchronize()
                    best = min(best or 1e9, a.elapsed_time(b))
            took[way] = best
        except RuntimeError as e:
            took[way] = None
            print(f"{way}: {first_line(e)}", file=sys.stderr)
    if not any(took.values()):
        raise RuntimeError("SDPA has no way to attend here")
    return took


def rows_of(s, context, rows, device):
    ids = torch.randint(s.vocab, (rows // context, context), device=device)
    targets = torch.cat([ids[:, 1:], torch.full_like(ids[:, :1], -1)], 1)
    return ids, targets


def measure(s, context, a, most):
    torch._dynamo.reset()
    gc.collect()
    torch.cuda.empty_cache()
    rows = max(1, a.rows // context) * context
    tokens = rows * a.passes
    about = dict(system="pytorch", shape=s.name, attention="full", context=context, rows=rows, passes=a.passes, tokens=tokens,
                 head_rows=a.head_rows or rows, recompute=a.recompute, warm=a.warm, steps=a.steps, masters=a.masters, mode=a.mode, compile=a.compile)
    try:
        took = fastest(s, context, rows, [w for w in WAYS if "math" not in w and (a.sdpa == "best" or w.startswith(a.sdpa))])
        way = min((w for w in took if took[w]), key=took.get)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        with torch.device("cuda"):
            model = Model(s, context, way, a.recompute, a.head_rows)
        count = sum(p.numel() for p in model.parameters())
        masters = Masters(model, a.masters, "cuda", a.clip)
        torch.cuda.empty_cache()
        f, mode = model, None if a.mode == "default" else a.mode
        if a.compile == "whole":
            f = torch.compile(model, dynamic=False, fullgraph=True, mode=mode)
        elif a.compile == "layers":
            model.compile_parts(mode=mode)
        passes = [rows_of(s, context, rows, "cuda") for _ in range(a.passes)]
        scale = 1.0 / (rows - rows // context) / a.passes
        began = time.time()
        with sdpa_kernel(WAYS[way][1]):
            for _ in range(a.warm):
                masters.learn(f, passes, scale)
            torch.cuda.synchronize()
            compiled = time.time() - began
            torch.cuda.reset_peak_memory_stats()
            marks = [torch.cuda.Event(enable_timing=True) for _ in range(a.steps + 1)]
            marks[0].record()
            for m in marks[1:]:
                loss = masters.learn(f, passes, scale)
                m.record()
            marks[-1].synchronize()
        samples = [x.elapsed_time(y) for x, y in zip(marks, marks[1:])]
        ms = statistics.median(samples)
        work = s.work(context, tokens)
        flop = sum(work.values())
        free, total = torch.cuda.mem_get_info()
        emit("train", **about, ms=ms, ms_min=min(samples), ms_max=max(samples), samples=samples, tokens_per_second=tokens / ms * 1e3, flop=work,
             flop_per_second=flop / ms * 1e3, roofline_ms=flop / most * 1e3 if most else 0, fraction=flop / most / ms * 1e3 if most else 0,
             memory=torch.cuda.max_memory_allocated(), memory_reserved=torch.cuda.max_memory_reserved(), memory_device=total - free,
             parameters=count, loss=loss.item(), sdpa=way, sdpa_ms_per_layer=took, warm_seconds=compiled)
        if a.profile:
            kernels(masters, f, passes, scale, way, about)
    except RuntimeError as e:  # out of memory too
        emit("train", **about, error=first_line(e))


def kernels(masters, f, passes, scale, way, about):
    """The kernels of one more step, those that take longest first, to standard error; their groups as a line."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as p, sdpa_kernel(WAYS[way][1]):
        masters.learn(f, passes, scale)
        torch.cuda.synchronize()
    sums = {}
    rows = []
    for e in p.key_averages():
        ms = e.self_device_time_total / 1e3
        name = e.key.lower()
        part = next((g for g, words in {
            "attention": ("flash", "fmha", "cudnn", "sdpa"), "optimiser": ("adam", "multi_tensor", "foreach"), "between": ("triton",),
            "products": ("gemm", "nvjet", "cutlass", "xmma", "cublas")}.items() if any(w in name for w in words)), "rest")
        sums[part] = sums.get(part, 0) + ms
        rows.append((ms, e.count, e.key))
    for ms, count, name in sorted(rows, reverse=True)[:25]:
        print(f"{ms:9.3f} ms {count:5d} x {name[:140]}", file=sys.stderr)
    emit("train_parts", **about, parts=[dict(name=n, ms=v) for n, v in sorted(sums.items(), key=lambda x: -x[1])])


def check(device):
    """Loss and gradients of every form are those of the plain one, and steps make the loss smaller."""
    s, context, rows = Shape("tiny"), 24, 96
    torch.manual_seed(1)
    plain = Model(s, context, "math, heads repeated", "none", 0).to(device)
    state = plain.state_dict()
    ids, targets = rows_of(s, context, rows, device)
    want = None
    for way, recompute, head_rows, traced in (("math, heads repeated", "none", 0, ""), ("flash, enable_gqa", "none", 0, ""), ("flash, heads repeated", "layer", 40, ""),
                                              ("flash, enable_gqa", "none", 0, "whole"), ("flash, enable_gqa", "layer", 40, "whole"),
                                              ("flash, enable_gqa", "none", 0, "layers"), ("flash, enable_gqa", "layer", 40, "layers")):
        m = Model(s, context, way, recompute, head_rows).to(device)
        m.load_state_dict(state)
        f = torch.compile(m, dynamic=False, fullgraph=True, backend="aot_eager") if traced == "whole" else m  # graphs without a compiler's kernels
        if traced == "layers":
            m.compile_parts(backend="aot_eager")
        with sdpa_kernel(WAYS[way][1]):
            loss = f(ids, targets)
            loss.backward()
        got = [loss.detach(), *(p.grad for p in m.parameters())]
        want = want or got
        off = max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(got, want))
        emit("check", sdpa=way, recompute=recompute, head_rows=head_rows, traced=traced, largest_difference=off)
        if not off < 1e-4:
            sys.exit(f"{way}, {recompute}, {head_rows}: off by {off:.3g}")
    for kind in ("copies", "autocast", "bf16"):
        for passes in (1, 2):
            m = Model(s, context, "flash, heads repeated", "none", 0).to(device)
            m.load_state_dict(state)
            o = Masters(m, kind, device, 1.0)
            for g in o.adamw.param_groups:
                g["lr"] = 1e-2
            losses = [o.learn(m, [(ids, targets)] * passes, 1.0 / (rows - rows // context) / passes).item() for _ in range(6)]
            emit("check", masters=kind, passes=passes, losses=losses)
            if not losses[-1] < losses[0] - 0.3 or not abs(losses[0] - torch.tensor(float(s.vocab)).log().item()) < 0.2:
                sys.exit(f"{kind}: losses {losses}")


def number(text):
    return int(text[:-1]) * 1024 if text[-1] in "kK" else int(text)


def numbers(text):
    return [number(t) for t in text.split(",")]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shape", choices=sorted(SHAPES), default="135m")
    p.add_argument("--context", type=numbers, default=[2048, 8192, 16384], metavar="N,…", help="tokens of a document, 8192 or 8K")
    p.add_argument("--rows", type=number, default=16384, metavar="N", help="tokens of a pass: as many documents as fit, one at least (%(default)s)")
    p.add_argument("--passes", type=int, default=1, help="of a step (%(default)s)")
    p.add_argument("--head-rows", type=number, default=0, metavar="N", help="logits of so many rows at a time, computed again for their gradient; 0: all at once")
    p.add_argument("--recompute", choices=["none", "layer"], default="none")
    p.add_argument("--masters", choices=["copies", "autocast", "bf16"], default="copies")
    p.add_argument("--sdpa", choices=["flash", "cudnn", "best"], default="flash", help="(%(default)s)")
    p.add_argument("--mode", choices=["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"], default="default", help="of torch.compile")
    p.add_argument("--compile", choices=["whole", "layers", "nothing"], default="whole", help="(%(default)s)")
    p.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradients; 0: not looked at (%(default)s)")
    p.add_argument("--warm", type=int, default=3)
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--profile", action="store_true", help="one more step, whose kernels are timed")
    p.add_argument("--check", action="store_true", help="all forms against each other in a tiny shape, and nothing else")
    p.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: for --check")
    a = p.parse_args()
    if a.check:
        return check(a.device)
    if a.device == "cpu" or not torch.cuda.is_available():
        sys.exit("torch_train.py: there is no GPU for PyTorch here; --check --device cpu needs none")
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True
    torch.set_float32_matmul_precision("high")
    began, most = time.time(), peak()
    emit("train_machine", system="pytorch", device=torch.cuda.get_device_name(), torch=torch.__version__, cuda=torch.version.cuda,
         cudnn=torch.backends.cudnn.version(), activations="bf16", memory=torch.cuda.mem_get_info()[0], peak=most)
    for context in a.context:
        measure(Shape(a.shape), context, a, most)
    emit("train_end", seconds=time.time() - began)


if __name__ == "__main__":
    main()
