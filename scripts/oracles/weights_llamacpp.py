"""Does llama.cpp understand a model as transformers does, once nosa has made a GGUF of its folder? By hand, not in CI.

    python scripts/oracles/weights_llamacpp.py FOLDER TEXT --bin BIN [--convert "nosa convert"] [--chunks 2]

FOLDER is a small llama as transformers saves it (SmolLM2-135M). For each kind of rotation its config.json is changed
(the text then reads worse, but both programs must agree on how much), the folder is converted, and the perplexities of
the first chunks of 512 ids of TEXT are compared: llama.cpp's perplexity tool on the GGUF in F32, the same sums by
transformers. MiniCPM has no model class in transformers: there the same function is written twice, as a minicpm with its
three scales and as a llama with the scales multiplied into the weights, and llama.cpp runs both. BIN is the folder of
llama-perplexity; see llama_perplexity.py for how to build it and for what it counts.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen3Config

DIM = 64  # SmolLM2's heads
VARIANTS = {
    "as it is": None,
    "linear": {"rope_type": "linear", "factor": 2.0},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 128},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256},
    # Not other betas: the keys are written, but llama.cpp (2026) reads them for one other architecture only.
    "yarn, other attention factor": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256, "attention_factor": 1.3},
    "longrope, long": {
        "rope_type": "longrope", "original_max_position_embeddings": 256, "factor": 4.0,
        "long_factor": [1 + i / 16 for i in range(DIM // 2)], "short_factor": [1.0] * (DIM // 2)},
    "longrope, short": {
        "rope_type": "longrope", "original_max_position_embeddings": 4096, "factor": 2.0,
        "long_factor": [9.0] * (DIM // 2), "short_factor": [1 + i / 32 for i in range(DIM // 2)]},
}


def llama_cpp(a, gguf):
    """The perplexity by llama.cpp, with a float32 cache."""
    command = [f"{a.bin}/llama-perplexity", "-m", gguf, "-f", a.text, "-c", "512", "--chunks", str(a.chunks), "-t", "2",
               "-ctk", "f32", "-ctv", "f32", "-fa", "off", "-b", "512"]
    out = subprocess.run(command, capture_output=True, text=True)
    # Not the final line: it is missing when so few chunks give no standard deviation.
    found = re.search(rf"\[{a.chunks}\]([\d.]+)", out.stdout + out.stderr)
    if not found:
        sys.exit(f"llama.cpp failed on {gguf}:\n{out.stderr[-2000:]}")
    return float(found[1])


def transformers_ppl(folder, ids, chunks):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    total = 0.0
    for n in range(chunks):
        chunk = torch.tensor(ids[512 * n:512 * n + 512])[None]
        with torch.no_grad():
            logits = model(chunk).logits[0].double()
        losses = torch.nn.functional.cross_entropy(logits[256:511], chunk[0, 257:512], reduction="sum")
        total += float(losses)
    return float(torch.exp(torch.tensor(total / (255 * chunks))))


def variant(a, work, change, weights=None):
    """A copy of the folder with another configuration, its GGUF, and both paths."""
    folder, gguf = Path(tempfile.mkdtemp(dir=work)) / "model", Path(tempfile.mkdtemp(dir=work)) / "m.gguf"
    folder.mkdir()
    for f in Path(a.folder).iterdir():
        if weights is not None and f.suffix == ".safetensors":
            continue
        try:
            os.link(f, folder / f.name)
        except OSError:
            shutil.copy(f, folder / f.name)
    if weights is not None:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config))
    subprocess.run([*shlex.split(a.convert), str(folder), str(gguf)], check=True, stdout=subprocess.DEVNULL)
    return folder, str(gguf)


def random_model(a, work, family):
    """A small model of a family with weights large enough that its losses tell one function from another."""
    torch.manual_seed(1)
    vocab = json.loads((Path(a.folder) / "config.json").read_text())["vocab_size"]
    config = family(vocab_size=vocab, hidden_size=128, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4,
                    num_key_value_heads=2, head_dim=64, max_position_embeddings=1024, initializer_range=0.3,
                    rope_parameters={"rope_type": "default", "rope_theta": 1e6}, tie_word_embeddings=True)
    if family is Qwen2Config:
        del config.head_dim  # 128 / 4
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias") or "norm" in name:
                p += 0.3 * torch.randn_like(p)
        model.get_input_embeddings().weight *= 0.2
    folder, gguf = Path(tempfile.mkdtemp(dir=work)) / "model", Path(tempfile.mkdtemp(dir=work)) / "m.gguf"
    model.save_pretrained(folder)
    for f in Path(a.folder).glob("tokenizer*"):
        shutil.copy(f, folder)
    subprocess.run([*shlex.split(a.convert), str(folder), str(gguf)], check=True, stdout=subprocess.DEVNULL)
    return folder, str(gguf)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("folder")
    p.add_argument("text")
    p.add_argument("--bin", required=True)
    p.add_argument("--convert", default="nosa convert")
    p.add_argument("--chunks", type=int, default=2)
    p.add_argument("--only", default="", help="variants whose names begin so")
    a = p.parse_args()
    ids = AutoTokenizer.from_pretrained(a.folder)(Path(a.text).read_text().rstrip("\n")[:100_000])["input_ids"]
    failed = False
    with tempfile.TemporaryDirectory(dir=Path(a.folder).parent) as work:
        for name, scaling in VARIANTS.items():
            if not name.startswith(a.only):
                continue
            def change(config, scaling=scaling):
                config.pop("rope_parameters", None)
                config["rope_theta"] = 100000
                if scaling:
                    config["rope_scaling"] = scaling
            folder, gguf = variant(a, work, change)
            ours, theirs = transformers_ppl(folder, ids, a.chunks), llama_cpp(a, gguf)
            bad = abs(ours / theirs - 1) > 2e-3
            failed |= bad
            print(f"{name:40} transformers {ours:10.4f}   llama.cpp {theirs:10.4f}   {'DIFFERS' if bad else ''}", flush=True)
            shutil.rmtree(folder.parent)
            shutil.rmtree(Path(gguf).parent)

        for family in [Qwen2Config, Qwen3Config]:
            name = family.model_type + ", random"
            if not name.startswith(a.only):
                continue
            folder, gguf = random_model(a, work, family)
            ours, theirs = transformers_ppl(folder, ids, a.chunks), llama_cpp(a, gguf)
            bad = abs(ours / theirs - 1) > 2e-3
            failed |= bad
            print(f"{name:40} transformers {ours:10.4f}   llama.cpp {theirs:10.4f}   {'DIFFERS' if bad else ''}", flush=True)

        if not "minicpm".startswith(a.only):
            sys.exit(failed)
        # The same function twice. Scales chosen so that the text still reads well: an embedding halved before it is
        # doubled; branches the same; the output layer four times as large, divided by four.
        layers, hidden = 30, 576
        emb, residual, logit = 2.0, 0.5, 4.0
        plain = load_file(Path(a.folder) / "model.safetensors")
        scaled = {k: v.clone() for k, v in plain.items()}
        scaled["lm_head.weight"] = plain["model.embed_tokens.weight"] * logit
        scaled["model.embed_tokens.weight"] = plain["model.embed_tokens.weight"] / emb
        for k, v in scaled.items():
            if k.endswith(("o_proj.weight", "down_proj.weight")):
                scaled[k] = v / residual
        def minicpm(config):
            config.update(architectures=["MiniCPMForCausalLM"], model_type="minicpm", scale_emb=emb,
                          scale_depth=residual * layers ** 0.5, dim_model_base=hidden / logit, tie_word_embeddings=False)
        _, gguf = variant(a, work, minicpm, scaled)
        _, base = variant(a, work, lambda c: None)
        one, two = llama_cpp(a, gguf), llama_cpp(a, base)
        bad = abs(one / two - 1) > 1e-3
        failed |= bad
        print(f"{'minicpm':40} by its scales {one:9.4f}   as a llama {two:9.4f}   {'DIFFERS' if bad else ''}")
    sys.exit(failed)


main()
