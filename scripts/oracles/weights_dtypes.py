"""Makes dtype/testdata/goldens.json: what the PyPI package gguf (ggml's own Python) makes of every number format.

    python scripts/oracles/weights_dtypes.py dtype/testdata/goldens.json

Needs gguf and numpy. For each block format: random blocks with ordinary scales, a few with extreme ones, and the
float32 bits that gguf.quants.dequantize gives. For the formats that nosa writes also values and the bytes that
gguf.quants.quantize makes of them.
"""

import base64
import json
import sys

import numpy as np
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T

rng = np.random.default_rng(20261124)
# Offsets of the f16 fields within a block.
HALVES = {
    "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}


def b64(a):
    return base64.b64encode(np.ascontiguousarray(a).tobytes()).decode()


def decoded(name):
    kind = T[name]
    _, size = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (12, size), dtype=np.uint8)
    scales = rng.normal(0, 0.02, (12, len(HALVES[name]))).astype(np.float16)
    scales[0] = 0
    scales[1] = np.float16(6e-8)  # the smallest subnormal
    scales[2] = np.float16(1000)
    scales[3] = -np.abs(scales[3])
    for i, at in enumerate(HALVES[name]):
        blocks[:, at:at + 2] = scales[:, i:i + 1].view(np.uint8)
    return {"bytes": b64(blocks), "values": b64(quants.dequantize(blocks, kind).astype(np.float32))}


def encoded(name):
    x = rng.normal(0, 0.05, (12, 32)).astype(np.float32)
    x[0] = 0
    x[1] = np.repeat([0.5, -0.5], 16)
    x[2] = np.arange(32) - 16
    x[3] *= 1e-6
    x[4] *= 1e3
    x[5] = np.linspace(-1, 1, 32) / 127
    return {"values": b64(x), "bytes": b64(quants.quantize(x, T[name]))}


json.dump({
    "decode": {name: decoded(name) for name in HALVES},
    "encode": {name: encoded(name) for name in ["F32", "F16", "BF16", "Q8_0", "Q4_0"]},
}, open(sys.argv[1], "w"), indent=1)
