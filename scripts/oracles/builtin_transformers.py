"""Holds a folder of a nosa, or the model inside the binary, against transformers' Llama. By hand, not in CI.

    python scripts/oracles/builtin_transformers.py [MODEL] [--nosa ./nosa] [--text FILE] [--tolerance 1e-3]

MODEL is a Hugging Face folder that nosa trained or converted, or builtin (the default), which is written out as one first.
transformers loads it as a Llama and has no use for the tensors delta and A. In a context of no more than topk blocks a nosa
reads all of them, so that its attention is a Llama's with a bias: nosa_attention below, some 30 lines with what loads the
tensors. All log-probabilities of a text, and of random ids, of as many tokens as are dense, agree within the tolerance with
those of nosa score in float32, and so do the ids of the text. Without the bias they must not, or nothing would have been shown.

Needs torch, transformers, safetensors.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from torch.nn.functional import softplus
from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM, AutoTokenizer, logging
from transformers.masking_utils import eager_mask
from transformers.models.llama import modeling_llama

ROOT = Path(__file__).resolve().parents[2]


def nosa_attention(layer, query, key, value, attention_mask, **kwargs):
    """Attention with NOSA's bias on each key: s = A · softplus(delta · v), where v has all KV heads of the token, and the query
    heads of a group share the bias of their KV head. Tensors are [batch, heads, tokens, dim]."""
    v = value.transpose(1, 2).flatten(2)  # [batch, tokens, KV heads · dim]
    s = layer.A * softplus(v @ layer.delta.T + layer.delta_bias)  # [batch, tokens, KV heads]
    bias = s.transpose(1, 2).repeat_interleave(layer.num_key_value_groups, 1)[:, :, None]  # [batch, heads, 1, tokens]
    return modeling_llama.eager_attention_forward(layer, query, key, value, attention_mask + bias, **kwargs)


AttentionInterface.register("nosa", nosa_attention)
AttentionMaskInterface.register("nosa", eager_mask)


def load(folder):
    """The folder as a Llama, with the tensors that a Llama does not know as attributes of its layers."""
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="nosa", output_loading_info=True)
    assert type(model) is modeling_llama.LlamaForCausalLM, type(model)
    extra = {}
    for path in Path(folder).glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            extra |= {name: file.get_tensor(name) for name in file.keys() if ".self_attn.delta" in name or name.endswith(".self_attn.A")}
    assert not info["missing_keys"] and set(info["unexpected_keys"]) <= set(extra), info
    for i, block in enumerate(model.model.layers):
        layer, at = block.self_attn, f"model.layers.{i}.self_attn."
        layer.delta, layer.A = extra[at + "delta.weight"].float(), extra[at + "A"].float()
        layer.delta_bias = extra.get(at + "delta.bias", torch.zeros(len(layer.A))).float()
    return model.eval()


@torch.no_grad()
def logprobs(model, ids):
    logits = model(torch.tensor([ids])).logits[0].double()
    return logits[:-1].log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def run(program, *args):
    return json.loads(subprocess.run([program, *map(str, args), "--json"], check=True, stdout=subprocess.PIPE).stdout)


def ours(program, model, flag, value):
    got = run(program, "score", model, flag, value, "--numerics", "f32", "--kv-dtype", "f32")
    return got["tokens"], torch.tensor(got["logprobs"][1:], dtype=torch.float64)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="builtin")
    parser.add_argument("--nosa", default=str(ROOT / "nosa"))
    parser.add_argument("--text", type=Path, default=ROOT / "builtin/testdata/northanger-abbey.txt")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="on natural logarithms: both sum float32 in their own order")
    args = parser.parse_args()
    torch.set_num_threads(2)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.model
        if folder == "builtin":
            folder = f"{scratch}/folder"
            run(args.nosa, "convert", "builtin", folder)
        model = load(folder)
        sparse = json.loads((Path(folder) / "config.json").read_text())["sparse_config"]
        dense = sparse["topk"] * sparse["block_size"]
        text = args.text.read_text(encoding="utf-8")
        tokens = AutoTokenizer.from_pretrained(folder)(text).input_ids
        if tokens != run(args.nosa, "tokenize", args.model, "--file", args.text)["tokens"]:
            sys.exit("nosa and transformers give the text other ids")
        draw = random.Random(1)
        for name, ids in {"text": tokens[:dense], "random ids": [draw.randrange(model.config.vocab_size) for _ in range(dense)]}.items():
            file = Path(scratch) / "ids.json"
            file.write_text(json.dumps(ids))
            _, want = ours(args.nosa, args.model, "--ids", file)
            model.set_attn_implementation("nosa")
            off = (logprobs(model, ids) - want).abs().max().item()
            model.set_attn_implementation("eager")
            plain = (logprobs(model, ids) - want).abs().max().item()
            print(f"{name}: {len(ids)} tokens, log-probabilities differ by {off:.1e} at most, without the bias by {plain:.1e}")
            if not off <= args.tolerance < plain:
                sys.exit(f"want no more than {args.tolerance:g} with the bias, and more without")


if __name__ == "__main__":
    main()
