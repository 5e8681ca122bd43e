"""A second, plain implementation of the decoders that nosa runs, for checking goldens.

It is written from the published definitions, shares no code with transformers, and works
in float64 throughout, rotation included. tiny_models.py holds it against transformers;
sparse_models.py uses it where transformers has no such model. Shapes are [heads, tokens, dim].
"""

import math

import torch

F64 = torch.float64


def rope_settings(config):
    """The rotation's settings, from either spelling of config.json.

    Published models have rope_theta and rope_scaling side by side (and in older ones the
    kind is under "type"); transformers 5 writes one object rope_parameters with all of it.
    """
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    rope["rope_type"] = rope.get("rope_type") or rope.get("type") or "default"
    return rope


def rope_frequencies(config, dim, length):
    """Angles per position [dim/2] and the factor on cos and sin, for a sequence of `length`."""
    rope = rope_settings(config)
    kind, base = rope["rope_type"], float(rope["rope_theta"])
    max_len = config.get("max_position_embeddings")
    original = rope.get("original_max_position_embeddings") or max_len
    exponent = torch.arange(0, dim, 2, dtype=F64) / dim
    inv = base**-exponent
    if kind == "default":
        return inv, 1.0
    if kind == "linear":
        return inv / rope["factor"], 1.0
    if kind == "dynamic":
        # NTK: the base grows with the length once it passes what the model was trained on.
        f, n = rope["factor"], max(length, max_len)
        base *= (f * n / max_len - (f - 1)) ** (dim / (dim - 2))
        return base**-exponent, 1.0
    if kind == "llama3":
        return llama3(inv, rope, original), 1.0
    if kind == "yarn":
        return yarn(inv, rope, dim, base, original)
    if kind == "longrope":
        # One set for the whole sequence, chosen by its total length, strictly above.
        which = "long_factor" if length > original else "short_factor"
        f = rope.get("factor") or max_len / original
        scale = rope.get("attention_factor")
        if scale is None:
            scale = 1.0 if f <= 1 else math.sqrt(1 + math.log(f) / math.log(original))
        return inv / torch.tensor(rope[which], dtype=F64), scale
    raise ValueError(f"rope type {kind!r} is not one of this file's")


def llama3(inv, rope, original):
    """Wavelengths under original/high stay, over original/low are stretched by factor, between: blended."""
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    turns = original * inv / (2 * math.pi)  # full turns within the original length
    keep = ((turns - low) / (high - low)).clamp(0, 1)
    return inv * (keep + (1 - keep) / factor)


def yarn(inv, rope, dim, base, original):
    """Dimensions that turn often keep their angle, slow ones are stretched, with a ramp over dimension numbers."""
    factor = rope["factor"]

    def dimension(turns):  # the (real) dimension number that makes this many turns
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = dimension(rope.get("beta_fast") or 32)
    high = dimension(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    stretch = ((torch.arange(dim // 2, dtype=F64) - low) / (high - low)).clamp(0, 1)
    inv = inv * (1 - stretch) + inv / factor * stretch

    def mscale(m=1.0):
        return 1.0 if factor <= 1 else 0.1 * m * math.log(factor) + 1.0

    scale = rope.get("attention_factor")
    if scale is None:
        m, m_all = rope.get("mscale"), rope.get("mscale_all_dim")
        scale = mscale(m) / mscale(m_all) if m and m_all else mscale()
    return inv, scale


def rotate(x, inv, scale):
    """Half-split rotation of x [heads, tokens, dim] at positions 0, 1, 2, …"""
    angle = torch.arange(x.shape[1], dtype=F64)[:, None] * inv
    cos, sin = (angle.cos() * scale), (angle.sin() * scale)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def full_attention(layer, q, k, v):
    """Causal attention: q [heads, tokens, dim], k and v [kv heads, tokens, dim]."""
    group = q.shape[0] // k.shape[0]
    k, v = (t.repeat_interleave(group, dim=0) for t in (k, v))
    logits = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    later = torch.ones(logits.shape[1:], dtype=torch.bool).triu(1)
    return logits.masked_fill(later, -math.inf).softmax(-1) @ v


class Decoder:
    """Llama, Qwen2, Qwen3 and MiniCPM: the same decoder with small differences.

    A bias or a norm of q and k is applied where the tensors hold one. MiniCPM's three
    scalings: scale_emb on embeddings, scale_depth/√layers on what each branch adds to the
    residual, and the last hidden state divided by hidden_size/dim_model_base.
    """

    def __init__(self, config, tensors, attention=full_attention):
        self.config, self.attention = config, attention
        self.tensors = {name: t.to(F64) for name, t in tensors.items()}
        self.heads = config["num_attention_heads"]
        self.kv_heads = config["num_key_value_heads"]
        self.dim = config.get("head_dim") or config["hidden_size"] // self.heads
        self.layers = config["num_hidden_layers"]
        self.branch = config.get("scale_depth", 0) / math.sqrt(self.layers) or 1.0

    def linear(self, name, x):
        y = x @ self.tensors[name + ".weight"].T
        bias = self.tensors.get(name + ".bias")
        return y if bias is None else y + bias

    def norm(self, name, x):
        mean_square = x.pow(2).mean(-1, keepdim=True)
        return x * torch.rsqrt(mean_square + self.config["rms_norm_eps"]) * self.tensors[name + ".weight"]

    def heads_of(self, layer, name, x, norm=None):
        """[tokens, heads·dim] to [heads, tokens, dim]."""
        y = self.linear(f"{layer}.self_attn.{name}", x)
        y = y.view(len(x), -1, self.dim).transpose(0, 1)
        if norm and f"{layer}.self_attn.{norm}.weight" in self.tensors:
            y = self.norm(f"{layer}.self_attn.{norm}", y)
        return y

    def logits(self, ids):
        """Logits [tokens, vocabulary] in float64."""
        inv, scale = rope_frequencies(self.config, self.dim, len(ids))
        x = self.tensors["model.embed_tokens.weight"][ids.long()] * self.config.get("scale_emb", 1)
        for n in range(self.layers):
            at = f"model.layers.{n}"
            h = self.norm(at + ".input_layernorm", x)
            q = rotate(self.heads_of(at, "q_proj", h, "q_norm"), inv, scale)
            k = rotate(self.heads_of(at, "k_proj", h, "k_norm"), inv, scale)
            o = self.attention(n, q, k, self.heads_of(at, "v_proj", h))
            o = o.transpose(0, 1).reshape(len(ids), -1)
            x = x + self.branch * self.linear(at + ".self_attn.o_proj", o)
            h = self.norm(at + ".post_attention_layernorm", x)
            gate = torch.nn.functional.silu(self.linear(at + ".mlp.gate_proj", h))
            x = x + self.branch * self.linear(at + ".mlp.down_proj", gate * self.linear(at + ".mlp.up_proj", h))
        x = self.norm("model.norm", x)
        if "dim_model_base" in self.config:
            x = x / (self.config["hidden_size"] / self.config["dim_model_base"])
        head = self.tensors.get("lm_head.weight", self.tensors["model.embed_tokens.weight"])
        return x @ head.T
