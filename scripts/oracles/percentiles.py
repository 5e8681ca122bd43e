"""Writes bench/load/testdata/percentiles.json: means, deviations and percentiles of lists
of numbers as numpy has them, for `nosa bench serve` to be held against.

    python scripts/oracles/percentiles.py
"""

import json
import pathlib

import numpy as np

PERCENTILES = [0, 1, 10, 25, 33.3, 50, 66.7, 75, 90, 95, 99, 99.9, 100]


def case(values):
    return {
        "values": [float(v) for v in values],
        "mean": float(np.mean(values)),
        "std": float(np.std(values)),
        "median": float(np.median(values)),
        "percentiles": [float(np.percentile(values, p)) for p in PERCENTILES],
    }


def main():
    rng = np.random.default_rng(7)
    cases = [
        case([3.5]),
        case([1, 2]),
        case([2, 1, 2]),
        case([0, 0, 0, 1000]),
        case(rng.exponential(20, 10)),
        case(rng.normal(100, 15, 101)),
        case(rng.lognormal(3, 2, 250)),
    ]
    out = pathlib.Path(__file__).parents[2] / "bench/load/testdata/percentiles.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"percentiles": PERCENTILES, "cases": cases}, indent=0) + "\n")


if __name__ == "__main__":
    main()
