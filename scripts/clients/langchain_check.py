"""Asks a running `nosa serve` through langchain-openai, unchanged.

    python langchain_check.py http://127.0.0.1:8080/v1 MODEL

Each check fails loudly; the last line counts them.
"""

import asyncio
import sys

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI, OpenAI
from openai import BadRequestError

base, model = sys.argv[1:3]
common = {"base_url": base, "api_key": "none", "model": model, "temperature": 0, "max_tokens": 16, "max_retries": 0}
chat = ChatOpenAI(stream_usage=True, **common)
talk = [SystemMessage("Be brief."), HumanMessage("Hello."), AIMessage("Hello! What would you like to know?"), HumanMessage("What is a whale?")]
checks = 0


def check(ok, *say):
    global checks
    checks += 1
    if not ok:
        raise SystemExit(f"check {checks} failed: {say}")


whole = chat.invoke(talk)
text = whole.content
check(text and whole.response_metadata["finish_reason"] == "length" and whole.response_metadata["model_name"] == model, whole)
check(whole.usage_metadata["output_tokens"] == 16 and whole.usage_metadata["input_token_details"]["cache_read"] >= 0, whole)

pieces = list(chat.stream(talk))
total = pieces[0]
for p in pieces[1:]:
    total += p
check(len(pieces) > 10 and total.content == text, total)
check(total.usage_metadata["input_tokens"] == whole.usage_metadata["input_tokens"], total)

probs = chat.bind(logprobs=True, top_logprobs=3).invoke(talk).response_metadata["logprobs"]["content"]
check("".join(t["token"] for t in probs) == text and len(probs[0]["top_logprobs"]) == 3, probs)

stop = text[8:12]
check(chat.invoke(talk, stop=[stop]).content == text[: text.index(stop)])

chain = ChatPromptTemplate.from_messages([("user", "What is a {thing}?")]) | chat | StrOutputParser()
answers = chain.batch([{"thing": t} for t in ("whale", "ship", "sea", "whale")])
check(len(answers) == 4 and answers[0] == answers[3] != answers[1], answers)
check(asyncio.run(chain.ainvoke({"thing": "whale"})) == answers[0])

several = chat.generate([talk, talk], stop=None)
check([g[0].text for g in several.generations] == [text, text], several)

plain = OpenAI(**common)
one = plain.invoke("Call me Ishmael. Some years ago")
check(one and "".join(plain.stream("Call me Ishmael. Some years ago")) == one, one)
both = plain.generate(["Call me Ishmael. Some years ago", "The sea"])
check(both.generations[0][0].text == one and len(both.generations) == 2 and both.llm_output["token_usage"]["completion_tokens"] == 32, both)

for change in ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}, {"temperature": 1000}, {"max_tokens": 10**9}):
    try:
        chat.bind(**change).invoke(talk)
        check(False, "was answered", change)
    except BadRequestError as e:
        check(e.body["message"] and e.body["type"] == "invalid_request_error", e.body)
print(f"{checks} passed, 0 failed")
