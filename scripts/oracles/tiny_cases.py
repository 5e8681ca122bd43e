"""The table of tiny models: what each one is there to show. tiny_models.py writes them.

`rms_norm_eps` is far larger than in real models in most of them, so that a wrong epsilon
changes the logits visibly. With head_dim 16 and rope_theta 10000 the wavelengths are 6.3,
20, 63, 199, 628, … positions: the original lengths of 64 to 512 put the bends of llama3,
yarn and longrope within the 320 tokens of the test.
"""

# The small shape (head_dim is not hidden_size / heads) and the one where it is.
SMALL = {"hidden_size": 32, "head_dim": 16, "intermediate_size": 32}
SQUARE = {"hidden_size": 64, "intermediate_size": 32}
COMMON = {
    "vocab_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 0.01,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
}

SHORT_FACTOR = [1.0, 1.02, 1.05, 1.1, 1.2, 1.3, 1.5, 1.8]
LONG_FACTOR = [1.0, 1.1, 1.4, 2.0, 3.5, 6.0, 9.0, 12.0]


def longrope(original, **more):
    return {
        "rope_type": "longrope",
        "short_factor": SHORT_FACTOR,
        "long_factor": LONG_FACTOR,
        "original_max_position_embeddings": original,
        **more,
    }


class Case:
    """One folder. `form` is how config.json spells the rotation:

    published  rope_theta and rope_scaling, torch_dtype, as nearly all published folders
    current    rope_parameters and dtype, as transformers 5 writes
    """

    def __init__(self, name, why, family="llama", shape=SMALL, form="published", dtype="float32", shards=0, **config):
        self.name, self.why, self.family, self.form = name, why, family, form
        self.dtype, self.shards = dtype, shards
        self.config = {**COMMON, **shape, **config}


CASES = [
    Case("llama", "default rotation; head_dim left to hidden_size / heads; rope_parameters", shape=SQUARE, form="current"),
    Case("llama-linear", "positions divided by 4", rope_scaling={"rope_type": "linear", "factor": 4.0}),
    Case(
        "llama-dynamic",
        "NTK: 320 tokens with max_position_embeddings 128; all positions use the base of length 320",
        max_position_embeddings=128,
        rope_scaling={"type": "dynamic", "factor": 2.0},
    ),
    Case(
        "llama-llama3",
        "three bands: kept, blended, divided by 8",
        form="current",
        rope_theta=50000.0,
        max_position_embeddings=1024,
        rope_scaling={
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 128,
        },
    ),
    Case(
        "llama-yarn",
        "attention factor 0.1 ln 4 + 1 from factor alone; key `type`, not `rope_type`",
        rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
    ),
    Case(
        "llama-yarn-mscale",
        "attention factor from mscale and mscale_all_dim; own betas; bounds not rounded",
        rope_scaling={
            "rope_type": "yarn",
            "factor": 8.0,
            "original_max_position_embeddings": 64,
            "beta_fast": 8.0,
            "beta_slow": 0.5,
            "mscale": 1.5,
            "mscale_all_dim": 0.4,
            "truncate": False,
        },
    ),
    Case(
        "llama-longrope-short",
        "320 tokens within the original 512: short factors, yet the attention factor of 2048/512",
        max_position_embeddings=2048,
        rope_scaling=longrope(512),
    ),
    Case(
        "llama-longrope-long",
        "320 tokens above the original 128: long factors at every position, the first ones too",
        max_position_embeddings=2048,
        rope_scaling=longrope(128),
    ),
    Case(
        "llama-longrope-factor",
        "factor given: it sets the attention factor, not max_position_embeddings / original",
        form="current",
        max_position_embeddings=2048,
        rope_scaling=longrope(128, factor=32.0),
    ),
    Case("llama-tied", "lm_head is the embedding; no lm_head tensor in the file", tie_word_embeddings=True),
    Case(
        "llama-bias",
        "biases on q, k, v, o, gate, up, down; one KV head for four query heads; sizes that no vector width divides",
        shape={"hidden_size": 36, "head_dim": 16, "intermediate_size": 37},
        vocab_size=43,
        attention_bias=True,
        mlp_bias=True,
        num_key_value_heads=1,
    ),
    Case("llama-sharded", "three layers in two files with an index", shards=2, num_hidden_layers=3),
    Case("llama-bf16", "stored in bfloat16, computed in float32", dtype="bfloat16"),
    Case(
        "qwen2",
        "biases on q, k, v only; sliding-window keys that are switched off",
        family="qwen2",
        shape=SQUARE,
        rope_theta=1e6,
        rms_norm_eps=1e-6,
        use_sliding_window=False,
        sliding_window=64,
        max_window_layers=1,
    ),
    Case(
        "qwen2-yarn",
        "yarn as the published Qwen2.5 folders add it, tied embeddings",
        family="qwen2",
        shape=SQUARE,
        tie_word_embeddings=True,
        rope_scaling={"factor": 4.0, "original_max_position_embeddings": 128, "type": "yarn"},
    ),
    Case(
        "qwen3",
        "norms of q and k over head_dim 16, which is not 48 / 4",
        family="qwen3",
        shape={"hidden_size": 48, "head_dim": 16, "intermediate_size": 32},
        form="current",
        rope_theta=1e6,
    ),
    Case(
        "minicpm",
        "the three scalings; default rotation",
        family="minicpm",
        shape=SQUARE,
        scale_emb=12,
        scale_depth=1.4,
        dim_model_base=16,
    ),
    Case(
        "minicpm-longrope",
        "as MiniCPM4 is published: original length = max_position_embeddings, so short factors and attention factor 1",
        family="minicpm",
        shape=SQUARE,
        scale_emb=12,
        scale_depth=1.4,
        dim_model_base=16,
        rope_scaling=longrope(512),
    ),
    Case(
        "minicpm-longrope-long",
        "original length 128 below the 320 tokens: long factors, attention factor √(1 + ln 16 / ln 128)",
        family="minicpm",
        shape=SQUARE,
        scale_emb=12,
        scale_depth=1.4,
        dim_model_base=16,
        max_position_embeddings=2048,
        rope_scaling=longrope(128),
        tie_word_embeddings=True,
    ),
]
