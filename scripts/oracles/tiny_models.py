"""Writes model/testdata/<name>: tiny random models and what transformers computes with them.

    python scripts/oracles/tiny_models.py [--out model/testdata] [name …]

A folder holds config.json, model.safetensors (or two shards and an index), golden.safetensors:
  ids     int32 [320]
  logits  float32 [320, vocabulary]: row t is the prediction after ids[0..t]
with, as metadata: what made it, the logits' standard deviation, and how far float64 lies off.

The golden is transformers in float32: a prefill of ids[:300], then 20 steps of one token each
on its cache. It must agree with one pass over all 320 and with decoder.py (float64, no code in
common); both distances are printed, and the script fails where they are not small. transformers
has no MiniCPM4: its golden is transformers' Llama with the three scalings multiplied into the
weights, which is the same function.
"""

import argparse
import json
import math
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

from decoder import Decoder, rope_frequencies, rope_settings
from golden import save_golden
from tiny_cases import CASES

TOKENS, PREFILL = 320, 300
FAMILIES = {
    "llama": transformers.LlamaConfig,
    "qwen2": transformers.Qwen2Config,
    "qwen3": transformers.Qwen3Config,
    "minicpm": transformers.LlamaConfig,  # with the scalings multiplied into the weights
}


def hf_config(case):
    """The case as a transformers config; scalings of MiniCPM are not part of it."""
    config = {k: v for k, v in case.config.items() if k not in ("scale_emb", "scale_depth", "dim_model_base")}
    config["dtype"] = "float32"
    return FAMILIES[case.family](**json.loads(json.dumps(config)))


def random_weights(case, generator):
    """Tensors by their Hugging Face names, large enough that attention and logits are not flat."""
    model = transformers.AutoModelForCausalLM.from_config(hf_config(case))
    # q·k/√dim gets a standard deviation of about 1.2² = 1.4, whatever the rotation's own factor is: where
    # attention is much sharper, float32 angles alone cost a good part of what a test may allow.
    q_and_k = 1.2 / rope_frequencies(case.config, 16, TOKENS)[1]
    tensors = {}
    for name, parameter in model.named_parameters():
        normal = torch.randn(parameter.shape, generator=generator)
        if name.endswith("norm.weight"):
            tensors[name] = 1 + 0.3 * normal
        elif name.endswith(".bias"):
            tensors[name] = 0.4 * normal
        elif "embed_tokens" in name:
            tensors[name] = normal / (12 if case.family == "minicpm" else 1)
        else:
            gain = q_and_k if "q_proj" in name or "k_proj" in name else 2.0 if "lm_head" in name else 1.2
            tensors[name] = normal * gain / math.sqrt(parameter.shape[1])
    if case.family == "minicpm" and "lm_head.weight" in tensors:
        tensors["lm_head.weight"] *= case.config["hidden_size"] / case.config["dim_model_base"]
    return tensors


def published_config(case):
    """config.json as the case's form spells it."""
    config = json.loads(hf_config(case).to_json_string(use_diff=False))
    keep = set(case.config) | {"model_type", "architectures", "rope_parameters", "attention_bias", "layer_types"}
    config = {k: v for k, v in config.items() if k in keep and v is not None}
    config["transformers_version"] = transformers.__version__
    config["architectures"] = [{"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "minicpm": "MiniCPM"}[case.family] + "ForCausalLM"]
    if case.form == "current":
        config["dtype"] = case.dtype
    else:
        config.pop("rope_parameters", None)
        config.pop("layer_types", None)
        config["rope_theta"] = case.config["rope_theta"]
        config["rope_scaling"] = case.config.get("rope_scaling")
        config["torch_dtype"] = case.dtype
    if case.family == "minicpm":
        config["model_type"] = "minicpm"
        config["mup_denominator"] = case.config["num_hidden_layers"]
        config |= {k: case.config[k] for k in ("scale_emb", "scale_depth", "dim_model_base")}
    return config


def write_weights(folder, tensors, shards):
    metadata = {"format": "pt"}
    if not shards:
        save_golden(tensors, folder / "model.safetensors", metadata)
        return
    names, where = sorted(tensors), {}
    for n in range(shards):
        file = f"model-{n + 1:05}-of-{shards:05}.safetensors"
        part = names[n * len(names) // shards : (n + 1) * len(names) // shards]
        save_golden({name: tensors[name] for name in part}, folder / file, metadata)
        where |= dict.fromkeys(part, file)
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def read_weights(folder):
    tensors = {}
    for file in sorted(folder.glob("model*.safetensors")):
        tensors |= load_file(file)
    return tensors


def load(case, folder):
    """The folder as it lies, in transformers, float32."""
    if case.family != "minicpm":
        return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    c, tensors = case.config, {k: t.float() for k, t in read_weights(folder).items()}
    head = tensors.get("lm_head.weight", tensors["model.embed_tokens.weight"])
    tensors["lm_head.weight"] = head / (c["hidden_size"] / c["dim_model_base"])
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"] * c["scale_emb"]
    for name in tensors:
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensors[name] = tensors[name] * (c["scale_depth"] / math.sqrt(c["num_hidden_layers"]))
    config = hf_config(case)
    config.tie_word_embeddings = False
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.load_state_dict(tensors)
    return model


def transformers_logits(case, model, ids):
    """Prefill and 20 steps on the cache; and one pass over everything."""
    model = model.eval()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        whole = model(ids[None].long()).logits[0]
        if case.name == "llama-dynamic":
            # Its base changes with every step, while cached keys keep theirs: only one pass is well defined.
            return whole, whole
        out = model(ids[None, :PREFILL].long(), use_cache=True)
        rows = [out.logits[0]]
        for t in range(PREFILL, len(ids)):
            out = model(ids[None, t : t + 1].long(), past_key_values=out.past_key_values, use_cache=True)
            rows.append(out.logits[0])
    return torch.cat(rows), whole


def relative(a, b):
    """Largest difference, in standard deviations of the logits."""
    return ((a.double() - b.double()).abs().max() / a.double().std()).item()


def write(case, out, seed):
    folder = out / case.name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*"):
        if old.suffix in (".safetensors", ".json"):
            old.unlink()
    generator = torch.Generator().manual_seed(seed)
    tensors = random_weights(case, generator)
    dtype = getattr(torch, case.dtype)
    (folder / "config.json").write_text(json.dumps(published_config(case), indent=2) + "\n")
    write_weights(folder, {k: t.to(dtype) for k, t in tensors.items()}, case.shards)

    ids = torch.randint(0, case.config["vocab_size"], (TOKENS,), generator=generator, dtype=torch.int32)
    golden, whole = transformers_logits(case, load(case, folder), ids)
    config = json.loads((folder / "config.json").read_text())
    stored = read_weights(folder)
    exact = Decoder(config, stored).logits(ids)
    plain = dict(config, rope_scaling=None, rope_parameters=None, rope_theta=rope_settings(config)["rope_theta"])
    effect = relative(exact, Decoder(plain, stored).logits(ids))
    one_pass, off = relative(golden, whole), relative(golden, exact)
    save_golden(
        {"ids": ids, "logits": golden.float().contiguous()},
        folder / "golden.safetensors",
        {
            "why": case.why,
            "made_by": f"scripts/oracles/tiny_models.py, transformers {transformers.__version__}, torch {torch.__version__}",
            "computed": "float32, eager attention, "
            + ("one pass over 320 tokens" if case.name == "llama-dynamic" else "prefill of 300, then 20 single steps"),
            "seed": str(seed),
            "logits_std": f"{golden.std().item():.6f}",
            "float64_distance_in_std": f"{off:.2e}",
        },
    )
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(
        f"{case.name:24} std {golden.std():6.3f}  one pass {one_pass:.1e}  float64 {off:.1e}"
        f"  rotation's effect {effect:7.2g}  {size / 1024:5.0f} KiB"
    )
    if one_pass > 1e-5 or off > 2e-5:
        raise SystemExit(f"{case.name}: the two implementations differ: {one_pass:.1e}, {off:.1e}")
    if rope_settings(config)["rope_type"] != "default" and effect < 0.02:
        raise SystemExit(f"{case.name}: its rotation changes nothing ({effect:.1e}): no test of it")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "model" / "testdata")
    parser.add_argument("names", nargs="*", help="folders to write (default: all)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for number, case in enumerate(CASES):
        if not args.names or case.name in args.names:
            write(case, args.out, seed=1000 + number)


if __name__ == "__main__":
    main()
