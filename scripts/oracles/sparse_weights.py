"""Random weights for tiny models with sparse attention."""

import math

import torch


def random_weights(config, generator):
    """Tensors by their Hugging Face names; delta and A large enough to change what is chosen."""
    hidden, inter, heads, kv = (
        config[k] for k in ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    )
    dim = config.get("head_dim") or hidden // heads
    tensors = {}

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    def linear(name, rows, columns, gain, bias=False):
        tensors[name + ".weight"] = normal(rows, columns) * gain / math.sqrt(columns)
        if bias:
            tensors[name + ".bias"] = 0.4 * normal(rows)

    small = config.get("scale_emb", 1)
    tensors["model.embed_tokens.weight"] = normal(config["vocab_size"], hidden) / small
    for n in range(config["num_hidden_layers"]):
        at, bias = f"model.layers.{n}.", config["attention_bias"]
        tensors[at + "input_layernorm.weight"] = 1 + 0.3 * normal(hidden)
        tensors[at + "post_attention_layernorm.weight"] = 1 + 0.3 * normal(hidden)
        linear(at + "self_attn.q_proj", heads * dim, hidden, 1.3, bias)
        linear(at + "self_attn.k_proj", kv * dim, hidden, 1.3, bias)
        linear(at + "self_attn.v_proj", kv * dim, hidden, 1.2, bias)
        linear(at + "self_attn.o_proj", hidden, heads * dim, 1.2, bias)
        linear(at + "mlp.gate_proj", inter, hidden, 1.2)
        linear(at + "mlp.up_proj", inter, hidden, 1.2)
        linear(at + "mlp.down_proj", hidden, inter, 1.2)
        if config["model_type"] == "nosa":
            linear(at + "self_attn.delta", kv, kv * dim, 1.2, bias)
            tensors[at + "self_attn.A"] = torch.tensor([1.1, -0.8]) * (1 if n == 0 else -1) + 0.1 * normal(kv)
    tensors["model.norm.weight"] = 1 + 0.3 * normal(hidden)
    linear("lm_head", config["vocab_size"], hidden, 2.0 * hidden / config.get("dim_model_base", hidden))
    return tensors
