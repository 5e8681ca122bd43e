"""Holds `nosa eval --tasks ppl` against lm-eval's perplexity of the same text.

    pip install 'lm-eval[api]==0.4.13'
    nosa serve FILE --addr 127.0.0.1:8080 --context 4096 &
    python scripts/oracles/eval_lmeval.py http://127.0.0.1:8080 MODEL NOSA FILE [LENGTH]

NOSA is the binary, FILE the model that the server runs, MODEL its name there. The text is
models/quarter-deck.txt, of the task nosa_whole in scripts/clients/tasks; lm-eval, unchanged, reads it in
windows, whose log-likelihoods the server computes. Word and byte perplexity must be equal to 1e-4.
A window of LENGTH tokens is what lm-eval calls max_length = LENGTH + 1: it keeps one token for an
answer and one for the context.
"""

import glob
import json
import os
import subprocess
import sys
import tempfile

base, model, nosa, file, *length = sys.argv[1:]
length = int(length[0]) if length else 1024
text = "models/quarter-deck.txt"


def run(*command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-5000:]}")
    return done.stdout


with tempfile.TemporaryDirectory() as out:
    args = f"model={model},base_url={base}/v1/completions,num_concurrent=1,max_length={length + 1}"
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": out}
    run(sys.executable, "-m", "lm_eval", "--model", "local-completions", "--model_args", args, "--batch_size", "1",
        "--include_path", "scripts/clients/tasks", "--tasks", "nosa_whole", "--output_path", out, env=offline)  # fmt: skip
    (path,) = glob.glob(f"{out}/*/results_*.json")
    with open(path) as f:
        theirs = json.load(f)["results"]["nosa_whole"]
    ours = json.loads(run(nosa, "--json", "--quiet", "eval", file, "--tasks", "ppl", "--lengths", str(length), "--samples", "100000", "--book", text, "--out", out + "/ours"))

(cell,) = ours["settings"][0]["cells"]
ours = cell["perplexity"]
for name in ("word_perplexity", "byte_perplexity"):
    a, b = theirs[name + ",none"], ours[name]
    print(f"{name}: lm-eval {a:.9g}, nosa eval {b:.9g}, relative difference {abs(a / b - 1):.2g}")
    if abs(a / b - 1) > 1e-4:
        raise SystemExit("they differ")
print(f"{cell['samples']} windows of {length} tokens, {ours['tokens']} tokens predicted: equal")
