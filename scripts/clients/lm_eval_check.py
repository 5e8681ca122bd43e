"""Evaluates a running `nosa serve` by lm-eval, unchanged, and compares with `nosa score`.

    python lm_eval_check.py http://127.0.0.1:8080 MODEL NOSA FILE [FLAGS…]

NOSA is the binary, FILE the model that the server runs, FLAGS those that it runs with.
lm-eval counts tokens by the server's own tokenizer, so that nothing is fetched. Every
log-likelihood that it has found is computed again from the same token ids.
"""

import glob
import json
import os
import subprocess
import sys
import tempfile
import urllib.request

base, model, nosa, file, *flags = sys.argv[1:]
tolerance = 1e-4
checks = 0


def check(ok, *say):
    global checks
    checks += 1
    if not ok:
        raise SystemExit(f"check {checks} failed: {say}")


def run(*command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-5000:]}")
    return done.stdout


def tokens(text, *how):
    return json.loads(run(nosa, "--json", "tokenize", file, "--no-begin", *how, input=text))["tokens"]


def score(ids, first):
    """The log-likelihood of ids[first:] after ids[:first], by the engine alone."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(ids, f)
        f.flush()
        return sum(json.loads(run(nosa, "--json", "score", file, "--ids", f.name, *flags))["logprobs"][first:])


with tempfile.TemporaryDirectory() as out:
    args = f"model={model},base_url={base}/v1/completions,num_concurrent=4,max_length=8192"
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": out}
    tasks = ["nosa_whales", "nosa_whole", "nosa_goes_on"]
    run(sys.executable, "-m", "lm_eval", "--model", "local-completions", "--model_args", args, "--batch_size", "2",
        "--include_path", "scripts/clients/tasks", "--tasks", ",".join(tasks), "--log_samples", "--output_path", out, env=offline)  # fmt: skip
    samples = {}
    for task in tasks:
        (path,) = glob.glob(f"{out}/*/samples_{task}_*.jsonl")
        with open(path) as f:
            samples[task] = [json.loads(line) for line in f]

with urllib.request.urlopen(base + "/tokenizer_info") as answer:
    (begin,) = tokens(json.load(answer)["bos_token"], "--special")
worst = 0.0


def compare(got, ids, first):
    global worst
    want = score(ids, first)
    worst = max(worst, abs(got - want))
    check(abs(got - want) <= tolerance, "lm-eval has", got, "nosa score has", want, ids)


for s in samples["nosa_whales"]:
    for i, ((got,), args) in enumerate(zip(s["resps"], s["arguments"].values(), strict=True)):
        # As lm-eval cuts them: a blank at a context's end belongs to what follows.
        context, ending = args["arg_0"], args["arg_1"]
        ending = context[len(context.rstrip()) :] + ending
        context = context.rstrip()
        compare(float(got[0]), tokens(context + ending), len(tokens(context)))
check(len(samples["nosa_whales"]) == 6)

for s in samples["nosa_whole"]:
    ids = tokens(s["arguments"]["gen_args_0"]["arg_0"])
    check(len(ids) > 3000, len(ids))  # long enough that attention chooses among blocks
    compare(float(s["resps"][0][0]), [begin, *ids], 1)
check(len(samples["nosa_whole"]) == 1)

for s in samples["nosa_goes_on"]:
    check(s["resps"][0][0] and not any(stop in s["resps"][0][0] for stop in "\n."), s)
check(len(samples["nosa_goes_on"]) == 6)
print(f"the largest difference of a log-likelihood is {worst:.2g}")
print(f"{checks} passed, 0 failed")
