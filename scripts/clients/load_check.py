"""Measures a running `nosa serve` by load generators that others wrote, unchanged.

    python load_check.py http://127.0.0.1:8080 MODEL TOKENIZER bench_serving|aiperf|guidellm TOOL

TOKENIZER is a folder with the model's tokenizer in Hugging Face's form, TOOL the file
bench_serving.py of the package sglang, or the command of the other two. What is checked
is that every request was answered in full, not how fast; the speeds are printed.
"""

import json
import os
import subprocess
import sys
import tempfile

base, model, tokenizer, kind, tool = sys.argv[1:]
requests, prompt, answer, together = 12, 200, 24, 4
checks = 0


def check(ok, *say):
    global checks
    checks += 1
    if not ok:
        raise SystemExit(f"check {checks} failed: {say}")


def run(*command, **env):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | env)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-5000:]}")


def bench_serving(out, backend):
    # -I: the package's own folder is not searched for modules.
    run(sys.executable, "-I", tool, "--backend", backend, "--base-url", base, "--model", model, "--tokenizer", tokenizer,
        "--dataset-name", "random-ids", "--random-input-len", str(prompt), "--random-output-len", str(answer), "--random-range-ratio", "0.5",
        "--num-prompts", str(requests), "--request-rate", "8", "--max-concurrency", str(together),
        "--output-file", f"{out}/r.jsonl", "--output-details", HF_HUB_OFFLINE="1")  # fmt: skip
    with open(f"{out}/r.jsonl") as f:
        r = json.loads(f.readlines()[-1])
    check(r["completed"] == requests and not any(r["errors"]), r["errors"])
    check(all(r["generated_texts"]) and r["total_output_tokens"] == sum(r["output_lens"]), r["output_lens"])
    return r["output_throughput"], r["median_ttft_ms"], r["median_itl_ms"]


def aiperf(out, way, *more):
    run(tool, "profile", "-m", model, "-u", base, "--endpoint-type", way, "--streaming", "--tokenizer", tokenizer,
        "--request-count", str(requests), "--concurrency", str(together), "--isl", str(prompt), "--osl", str(answer),
        "--extra-inputs", "ignore_eos:true", "--ui", "none", "--artifact-dir", out, *more)  # fmt: skip
    with open(f"{out}/profile_export_aiperf.json") as f:
        r = json.load(f)
    check(r["request_count"]["avg"] == requests and r["request_error_rate"]["avg"] == 0, r["error_summary"])
    check(r["usage_completion_tokens"]["min"] == r["usage_completion_tokens"]["max"] == answer, r["usage_completion_tokens"])
    check(r["output_sequence_length"]["count"] == requests, r["output_sequence_length"])
    return r["output_token_throughput"]["avg"], r["time_to_first_token"]["p50"], r["inter_token_latency"]["p50"]


def guidellm(out, path):
    run(tool, "run", "--backend", f"kind=openai_http,target={base},model={model},request_format={path}", "--tokenizer", f"kind=hf_auto,model={tokenizer}",
        "--data", f"kind=synthetic_text,prompt_tokens={prompt},output_tokens={answer}", "--profile", f"kind=concurrent,streams={together}",
        "--constraint", f"kind=max_requests,count={requests}", "--output", f"kind=json,path={out}/r.json", "--disable-console-interactive", HF_HUB_OFFLINE="1")  # fmt: skip
    with open(f"{out}/r.json") as f:
        m = json.load(f)["benchmarks"][0]["metrics"]
    check(m["request_totals"]["successful"] == m["request_totals"]["total"] == requests, m["request_totals"])
    tokens = m["output_token_count"]["successful"]
    check(tokens["min"] == tokens["max"] == answer, tokens)
    return tuple(m[k]["successful"][v] for k, v in (("output_tokens_per_second", "mean"), ("time_to_first_token_ms", "median"), ("inter_token_latency_ms", "median")))


ways = {
    "bench_serving": (bench_serving, [("vllm",), ("vllm-chat",), ("sglang-oai",)]),
    "aiperf": (aiperf, [("chat",), ("completions",), ("chat", "--use-server-token-count", "--per-chunk-usage")]),
    "guidellm": (guidellm, [("/v1/chat/completions",), ("/v1/completions",)]),
}
measure, settings = ways[kind]
for setting in settings:
    with tempfile.TemporaryDirectory() as out:
        speed, first, between = measure(out, *setting)
    check(speed > 0 and first > 0 and between > 0, speed, first, between)
    print(f"{kind} {' '.join(setting)}: {speed:.1f} tokens/s, TTFT {first:.0f} ms, ITL {between:.1f} ms in the median")
print(f"{checks} passed, 0 failed")
