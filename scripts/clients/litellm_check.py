"""Asks a running `nosa serve` through litellm, unchanged.

    python litellm_check.py http://127.0.0.1:8080/v1 MODEL

Each check fails loudly; the last line counts them.
"""

import asyncio
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched
import litellm
from litellm.exceptions import BadRequestError, ContextWindowExceededError, NotFoundError

litellm.suppress_debug_info = True

base, model = sys.argv[1:3]
# As its documentation says for any server with OpenAI's API, and for vLLM.
ways = {"openai/" + model: {}, "hosted_vllm/" + model: {}}
common = {"api_base": base, "api_key": "none", "num_retries": 0, "temperature": 0, "max_tokens": 16}
question = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a whale?"}]
checks = 0


def check(ok, *say):
    global checks
    checks += 1
    if not ok:
        raise SystemExit(f"check {checks} failed: {say}")


answers = set()
for name, more in ways.items():
    args = common | more | {"model": name}
    whole = litellm.completion(messages=question, logprobs=True, top_logprobs=2, **args)
    text = whole.choices[0].message.content
    answers.add(text)
    check(text and whole.usage.completion_tokens == 16 and whole.choices[0].finish_reason == "length", whole)
    tokens = whole.choices[0].logprobs.content
    check("".join(t.token for t in tokens) == text and len(tokens[0].top_logprobs) == 2, tokens)

    chunks = list(litellm.completion(messages=question, stream=True, stream_options={"include_usage": True}, **args))
    built = litellm.stream_chunk_builder(chunks, messages=question)
    check(len(chunks) > 10 and built.choices[0].message.content == text, built)
    check(built.usage.prompt_tokens == whole.usage.prompt_tokens and built.usage.completion_tokens == 16, built.usage)

    stop = text[8:12]
    cut = litellm.completion(messages=question, stop=[stop], seed=3, n=2, presence_penalty=0.0, user="me", **args)
    check([c.message.content for c in cut.choices] == [text[: text.index(stop)]] * 2 and cut.choices[0].finish_reason == "stop", cut)

    def refused(kind, **change):
        try:
            litellm.completion(**(args | {"messages": question} | change))
        except kind as e:
            check(e.llm_provider and str(e), e)
            return
        check(False, "was answered", change)

    refused(BadRequestError, tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}])
    refused(ContextWindowExceededError, max_tokens=10**9)
    refused(NotFoundError, model=name + "-7")

check(len(answers) == 1, answers)

text = litellm.text_completion(model="text-completion-openai/" + model, prompt="Call me Ishmael. Some years ago", echo=True, logprobs=1, **common)
check(text.choices[0].text.startswith("Call me Ishmael.") and len(text.choices[0].logprobs.tokens) > 16, text)


async def crowd():
    """Several at once, and one who leaves in the middle."""
    args = common | {"model": "openai/" + model, "messages": question}
    all = await asyncio.gather(*(litellm.acompletion(**args) for _ in range(8)))
    check({a.choices[0].message.content for a in all} == answers, all)
    stream = await litellm.acompletion(stream=True, **(args | {"max_tokens": 2000}))
    async for _ in stream:
        break
    await stream.aclose()


asyncio.run(crowd())
print(f"{checks} passed, 0 failed")
