"""Writes safetensors files that are the same bytes whenever their content is the same.

The library lists metadata in an order that changes from run to run; here it is sorted.
"""

import json
import struct

from safetensors.torch import save


def save_golden(tensors, path, metadata):
    data = save({name: t.contiguous() for name, t in tensors.items()}, metadata)
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
