"""Writes model/testdata/smollm2/moby2000.safetensors: transformers on SmolLM2-135M in float32.

    python scripts/oracles/smollm2_logprobs.py GGUF TEXT [--llama-tokenize PROGRAM]

The model is the GGUF's tensors (Q4_1, the embedding Q8_0) expanded to float32 by the gguf
package, with llama.cpp's reordering of q and k undone, in transformers' LlamaForCausalLM; the
ids are the GGUF's tokenizer as transformers reads it, nothing added. The file holds
  ids         int32   [2000]      the first 2,000 tokens of the text
  logprobs    float32 [2000]      ln p(ids[t] | ids[:t]); the first is NaN
  positions   int32   [20]        rows t of which the next two speak
  top_ids     int32   [20, 5]     the five likeliest tokens after ids[0..t], likeliest first
  top_logits  float32 [20, 5]     their logits
The script fails where transformers' own GGUF loader, or decoder.py in float64, disagrees.

It then repeats what llama.cpp's perplexity tool does with `-c 512 --chunks 8`, in float32, and
writes that beside: model/testdata/smollm2/chunks8.json (llama_perplexity.py adds llama.cpp's own).
"""

import argparse
import hashlib
import json
import math
import subprocess
from pathlib import Path

import gguf
import torch
import transformers

from check_gguf import expand, hf_tensors
from decoder import Decoder
from golden import save_golden

TOKENS, ROWS, CONTEXT, CHUNKS = 2000, 20, 512, 8


def config_of(reader):
    def value(key):
        return reader.get_field(key).contents()

    return {
        "hidden_size": value("llama.embedding_length"),
        "intermediate_size": value("llama.feed_forward_length"),
        "num_hidden_layers": value("llama.block_count"),
        "num_attention_heads": value("llama.attention.head_count"),
        "num_key_value_heads": value("llama.attention.head_count_kv"),
        "rms_norm_eps": value("llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": value("llama.rope.freq_base"),
        "max_position_embeddings": value("llama.context_length"),
        "vocab_size": value("llama.vocab_size"),
        "tie_word_embeddings": True,
    }


def build(config, tensors):
    config = dict(config)
    rope = {"rope_type": "default", "rope_theta": config.pop("rope_theta")}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config, rope_parameters=rope))
    missing = model.load_state_dict(tensors, strict=False)
    assert missing.missing_keys in ([], ["lm_head.weight"]) and not missing.unexpected_keys, missing
    model.tie_weights()
    return model.float().eval()


def logprobs(logits, ids):
    """ln p of every token but the first."""
    return logits[:-1].double().log_softmax(-1).gather(1, ids[1:, None].long())[:, 0]


def check_ids(ids, program, gguf_path, text, chars):
    """llama.cpp's tokenizer on the beginning of the text must give the same ids."""
    command = [program, "-m", gguf_path, "-p", text[:chars], "--ids", "--no-bos", "--no-escape", "--log-disable"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    theirs = json.loads(out[out.index("[") :])
    n = min(len(theirs) - 1, len(ids))  # the cut may fall within a token
    assert n > 1000 and theirs[:n] == ids[:n].tolist(), "llama.cpp's ids differ"
    print(f"llama-tokenize gives the same first {n} ids")


def chunk_losses(model, ids):
    """Mean negative log-likelihood of positions 257…511 of each chunk, as llama-perplexity counts them."""
    first, losses = CONTEXT // 2, []
    for n in range(CHUNKS):
        chunk = ids[n * CONTEXT : (n + 1) * CONTEXT]
        with torch.no_grad():
            logits = model(chunk[None].long()).logits[0]
        losses.append(-logprobs(logits, chunk)[first:].mean().item())
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf")
    parser.add_argument("text", type=Path)
    parser.add_argument("--llama-tokenize")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "model" / "testdata" / "smollm2")
    args = parser.parse_args()
    torch.set_num_threads(2)
    transformers.utils.logging.disable_progress_bar()
    args.out.mkdir(parents=True, exist_ok=True)
    path = Path(args.gguf).resolve()
    text = args.text.read_text(encoding="utf-8")

    reader = gguf.GGUFReader(path)
    config = config_of(reader)
    tensors = {k: torch.from_numpy(v) for k, v in hf_tensors(expand(reader), config).items()}
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    all_ids = torch.tensor(tokenizer(text, add_special_tokens=False).input_ids, dtype=torch.int32)
    assert tokenizer(text[:1000]).input_ids == tokenizer(text[:1000], add_special_tokens=False).input_ids
    ids = all_ids[:TOKENS]
    if args.llama_tokenize:
        check_ids(ids, args.llama_tokenize, str(path), text, chars=9000)

    model = build(config, tensors)
    with torch.no_grad():
        logits = model(ids[None].long()).logits[0]
        loader = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        theirs = loader.eval()(ids[None].long()).logits[0]
    loader_off = (logits - theirs).abs().max().item()
    exact = logprobs(Decoder(config, tensors).logits(ids), ids)
    mine = logprobs(logits, ids)
    off = (mine - exact).abs()
    print(f"transformers' GGUF loader: max |Δlogit| {loader_off:.1e}; float64: mean {off.mean():.1e}, max {off.max():.1e}")
    assert loader_off < 1e-3 and off.max() < 2e-3

    rows = torch.linspace(0, TOKENS - 1, ROWS).round().int()
    top = logits[rows.long()].topk(5, dim=-1)
    nll = -mine.mean().item()
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}, gguf package {gguf_version()}"
    save_golden(
        {
            "ids": ids,
            "logprobs": torch.cat((torch.tensor([math.nan]), mine.float())),
            "positions": rows,
            "top_ids": top.indices.int(),
            "top_logits": top.values,
        },
        args.out / "moby2000.safetensors",
        {
            "made_by": f"scripts/oracles/smollm2_logprobs.py, {versions}",
            "model_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "text_sha256": hashlib.sha256(args.text.read_bytes()).hexdigest(),
            "nll": f"{nll:.6f}",
            "perplexity": f"{math.exp(nll):.6f}",
            "float64_distance": f"mean {off.mean():.1e}, max {off.max():.1e}",
        },
    )
    losses = chunk_losses(model, all_ids)
    report = {
        "what": "float32 transformers, the procedure of llama-perplexity -c 512 --chunks 8: tokens 257 to 511 of each chunk",
        "made_by": versions,
        "tokens_in_text": len(all_ids),
        "chunk_nll": losses,
        "nll": sum(losses) / CHUNKS,
        "perplexity": math.exp(sum(losses) / CHUNKS),
    }
    (args.out / "chunks8.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"first {TOKENS} tokens: nll {nll:.5f}, perplexity {math.exp(nll):.4f}")
    print(f"8 chunks: {report['perplexity']:.4f}; per chunk {[round(math.exp(x), 4) for x in losses]}")


def gguf_version():
    from importlib.metadata import version

    return version("gguf")


if __name__ == "__main__":
    main()
