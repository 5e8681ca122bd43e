"""Runs llama.cpp's perplexity tool and writes model/testdata/smollm2/perplexity.json.

    python scripts/oracles/llama_perplexity.py BIN GGUF TEXT

BIN is the folder with llama-perplexity and llama-quantize (from the source package of
llama-cpp-python, folder vendor/llama.cpp; without AMX, which crashed under virtualisation):
    cmake -S vendor/llama.cpp -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DLLAMA_OPENSSL=OFF \\
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DGGML_NATIVE=OFF -DGGML_AVX2=ON \\
        -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON
    cmake --build build --target llama-perplexity llama-quantize

What the tool does with `-c 512 --chunks 8` (tools/perplexity/perplexity.cpp):
  * the whole file is read; one final newline, if there is one, is dropped; it is tokenised once,
    with BOS in front if the vocabulary asks for it (SmolLM2's does not);
  * chunk n is ids[512n : 512n + 512], each on an empty cache at positions 0 to 511 (its first id
    would be replaced by BOS, again only if the vocabulary asks for it);
  * of each chunk, ids 257 to 511 count: 255 predictions, from the logits of rows 256 to 510, so
    that every one of them has at least 257 ids before it; natural logarithms, sums in double;
  * what is printed after chunk n is exp(all losses so far / 255n): cumulative, not per chunk.
This script takes the per-chunk losses apart again.

It is run twice: on the file as it is (the tool then quantises activations to 8 bits and keeps K
and V in float16), and expanded to float32 throughout, which must agree with chunks8.json, the
same figure by transformers.
"""

import argparse
import json
import math
import re
import subprocess
import tempfile
from pathlib import Path

CHUNKS, COUNTED = 8, 255


def perplexity(program, model, text, *more):
    """(command, final perplexity, cumulative perplexity after each chunk)."""
    options = ["-c", "512", "--chunks", str(CHUNKS), "-t", "2", *more]
    run = subprocess.run([program, "-m", model, "-f", text, *options], capture_output=True, text=True, check=True)
    out = run.stdout + run.stderr
    steps = [float(x) for _, x in re.findall(r"\[(\d+)\]([0-9.]+),", out)]
    final = float(re.search(r"Final estimate: PPL = ([0-9.]+)", out).group(1))
    assert len(steps) == CHUNKS
    command = " ".join(["llama-perplexity", "-m", Path(model).name, "-f", Path(text).name, *options])
    return command, final, steps


def report(command, final, steps):
    sums = [0.0] + [math.log(p) * (n + 1) for n, p in enumerate(steps)]
    return {
        "command": command,
        "perplexity": final,
        "cumulative": steps,
        "chunk_nll": [round(b - a, 4) for a, b in zip(sums, sums[1:])],
        "predictions_per_chunk": COUNTED,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bin", type=Path)
    parser.add_argument("gguf")
    parser.add_argument("text")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "model" / "testdata" / "smollm2")
    args = parser.parse_args()
    tool = str(args.bin / "llama-perplexity")
    version = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True)
    asis = report(*perplexity(tool, args.gguf, args.text))
    with tempfile.TemporaryDirectory() as folder:
        wide = str(Path(folder) / "expanded-to-f32.gguf")
        quantize = [args.bin / "llama-quantize", "--allow-requantize", args.gguf, wide, "F32", "2"]
        subprocess.run(quantize, capture_output=True, check=True)
        expanded = report(*perplexity(tool, wide, args.text, "-ctk", "f32", "-ctv", "f32", "-fa", "off"))
    transformers = json.loads((args.out / "chunks8.json").read_text())["perplexity"]
    print(f"llama.cpp {asis['perplexity']}, in float32 {expanded['perplexity']}; transformers {transformers:.4f}")
    assert abs(expanded["perplexity"] / transformers - 1) < 1e-5
    result = {
        "version": (version.stdout + version.stderr).strip().splitlines()[0] + ", source package llama-cpp-python 0.3.36",
        "as_it_is": asis,
        "expanded_to_float32": expanded,
    }
    (args.out / "perplexity.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
