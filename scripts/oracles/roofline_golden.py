"""Writes compute/cuda/step/testdata/roofline.json: what roofline.py, the model of a decode step that the figures of
`nosa bench decode` are held against, says of its own cases.

    python3 scripts/oracles/roofline_golden.py PATH/TO/roofline.py > compute/cuda/step/testdata/roofline.json
"""

import importlib.util
import json
import sys

spec = importlib.util.spec_from_file_location("roofline", sys.argv[1])
roofline = importlib.util.module_from_spec(spec)
spec.loader.exec_module(roofline)

cases = []
for device in (80e9, 24e9):
    for context in (16384, 32768, 65536, 131072):
        for number in (2, 1.02):  # bytes
            for mode in ("full", "infllmv2", "nosi", "ours"):
                speed, batch, slots, compute, copies = roofline.best(context, number, device, mode)
                cases.append({"device": device, "context": context, "number": number, "mode": mode, "tokens_per_second": speed,
                              "batch": batch, "slots": slots, "compute_ms": compute, "copy_ms": copies})
json.dump({
    "weights": roofline.W, "memory": roofline.HBM, "bus": roofline.PCI, "host": roofline.HOST, "layers": roofline.L, "heads": roofline.HK,
    "dim": roofline.D, "k": roofline.K, "miss": [{"slots": s / 8, "miss": roofline.miss(s * roofline.K / 8)} for s in range(8, 41)], "cases": cases,
}, sys.stdout, indent=1)
print()
