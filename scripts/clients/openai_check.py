"""Asks a running `nosa serve` by OpenAI's own Python client, unchanged.

    python openai_check.py http://127.0.0.1:8080/v1 MODEL

Each check fails loudly; the last line counts them.
"""

import asyncio
import math
import sys

from openai import APIStatusError, AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

base, model = sys.argv[1:3]
client = OpenAI(base_url=base, api_key="none", max_retries=0)
question = [{"role": "user", "content": "What is a whale?"}]
checks = 0


def check(ok, *say):
    global checks
    checks += 1
    if not ok:
        raise SystemExit(f"check {checks} failed: {say}")


check([m.id for m in client.models.list()] == [model])
check(client.models.retrieve(model).id == model)

whole = client.chat.completions.create(model=model, messages=question, max_tokens=24, temperature=0, logprobs=True, top_logprobs=3)
text = whole.choices[0].message.content
check(whole.usage.completion_tokens == 24 and whole.choices[0].finish_reason == "length", whole)
tokens = whole.choices[0].logprobs.content
check(len(tokens) == 24 and "".join(t.token for t in tokens) == text, tokens)
check(all(t.logprob <= 0 and len(t.top_logprobs) == 3 and t.top_logprobs[0].logprob == t.logprob for t in tokens), tokens)

pieces, usage = [], None
for chunk in client.chat.completions.create(model=model, messages=question, max_tokens=24, temperature=0, stream=True, stream_options={"include_usage": True}):
    for choice in chunk.choices:
        pieces.append(choice.delta.content or "")
    usage = chunk.usage or usage
check("".join(pieces) == text and len(pieces) > 10, pieces)
check(usage.completion_tokens == 24 and usage.prompt_tokens == whole.usage.prompt_tokens, usage)
check(usage.nosa["selected_blocks"] > 0, usage)

stop = text[8:12]
cut = client.chat.completions.create(model=model, messages=question, max_tokens=24, temperature=0, stop=[stop])
check(cut.choices[0].message.content == text[: text.index(stop)] and cut.choices[0].finish_reason == "stop", cut)

several = client.chat.completions.create(model=model, messages=question, max_tokens=8, temperature=1.2, seed=5, n=3)
again = client.chat.completions.create(model=model, messages=question, max_tokens=8, temperature=1.2, seed=5, n=3)
check(len(several.choices) == 3 and len({c.message.content for c in several.choices}) > 1, several)
check([c.message.content for c in several.choices] == [c.message.content for c in again.choices])

prompt = "Call me Ishmael. Some years ago"
echo = client.completions.create(model=model, prompt=prompt, max_tokens=1, temperature=0, echo=True, logprobs=1)
p = echo.choices[0].logprobs
check(echo.choices[0].text.startswith(prompt) and p.token_logprobs[0] is None, echo)
check(all(v is not None and v <= 0 and math.isfinite(v) for v in p.token_logprobs[1:]), p)
check("".join(p.tokens) == echo.choices[0].text and p.text_offset[1] == len(p.tokens[0]), p)
batch = client.completions.create(model=model, prompt=[prompt, "The sea"], max_tokens=4, temperature=0)
check([c.index for c in batch.choices] == [0, 1], batch)

texts = ["The whale swam in the sea.", "A whale was swimming in the ocean.", "Interest rates rose by two points."]
vectors = [e.embedding for e in client.embeddings.create(model=model, input=texts).data]  # base64 on the wire
plain = client.embeddings.create(model=model, input=texts[0], encoding_format="float")
check(all(abs(x - y) < 1e-7 for x, y in zip(plain.data[0].embedding, vectors[0], strict=True)) and plain.usage.prompt_tokens == plain.usage.total_tokens > 4, plain.usage)
check(all(abs(sum(x * x for x in v) - 1) < 1e-5 for v in vectors))
near, far = (sum(x * y for x, y in zip(vectors[0], v)) for v in vectors[1:])
check(near > far, near, far)


def refused(kind, param, **args):
    try:
        client.chat.completions.create(model=args.pop("model", model), messages=args.pop("messages", question), **args)
    except kind as e:
        check(e.body["param"] == param and e.body["message"], e.body)
        return
    check(False, "was answered", args)


refused(BadRequestError, "tools", tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])
refused(BadRequestError, "response_format", response_format={"type": "json_object"})
refused(BadRequestError, "temperature", temperature=1000)
refused(BadRequestError, "messages", messages=[])
refused(BadRequestError, "colour", extra_body={"colour": "red"})
refused(NotFoundError, "model", model="gpt-7")


async def crowd():
    c = AsyncOpenAI(base_url=base, api_key="none", max_retries=0)

    async def one(i):
        r = await c.completions.create(model=model, prompt=prompt, max_tokens=16 + i, temperature=0)
        return r.choices[0].text

    texts = await asyncio.gather(*(one(i) for i in range(24)))
    check(all(texts[-1].startswith(t) for t in texts), texts)

    stream = await c.completions.create(model=model, prompt=prompt, max_tokens=2000, stream=True, extra_body={"ignore_eos": True})
    async for _ in stream:
        break
    await stream.close()  # in the middle: the server lets it go


asyncio.run(crowd())
try:
    client.completions.create(model=model, prompt="x", max_tokens=10**9)
    check(False, "was answered")
except APIStatusError as e:
    check(e.status_code == 400 and e.body["code"] == "context_length_exceeded", e.body)
print(f"{checks} passed, 0 failed")
