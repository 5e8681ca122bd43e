"""Renders templates with Jinja2 as transformers configures it, for chat's tests.

    python3 scripts/oracles/chat_golden.py chat/testdata

writes templates.json in that folder, from its templates/*.jinja and the
conversations in its conversations.json, and snippets.json from chat_snippets.py
where such a file is already. Any other folder of the same form can be tested by
go test ./chat -folder FOLDER. Needs jinja2 (3.1.6 made what is committed).
"""

import copy
import json
import pathlib
import re
import sys

from chat_jinja import environment, render
from chat_snippets import ARGUMENTS, snippets

# What is left out: places in memory, and complex numbers.
ADDRESS = re.compile(r"0x[0-9a-f]{6,}| at 0x|<function|built-in method|[0-9]j\)")


def write(path, data):
    text = json.dumps(data, ensure_ascii=False, indent=0)
    path.write_text(text + "\n", encoding="utf-8")


def answer(env, source, arguments):
    text, err = render(env, source, copy.deepcopy(arguments))  # indent changes a list
    if err is None and not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        err = "the text has half a character, which no file can hold"
    if err is not None:
        return {"error": err}
    return {"text": text}


def main():
    folder = pathlib.Path(sys.argv[1])
    env = environment()
    if (folder / "snippets.json").exists():
        write_snippets(folder / "snippets.json", env)
    write_templates(folder, env)


def write_snippets(path, env):
    cases = []
    for source in snippets():
        case = {"source": source, **answer(env, source, ARGUMENTS)}
        if "text" in case and ADDRESS.search(case["text"]):
            continue
        cases.append(case)
    write(path, {"arguments": ARGUMENTS, "cases": cases})


def write_templates(folder, env):
    conversations = json.loads((folder / "conversations.json").read_text(encoding="utf-8"))
    cases = []
    for path in sorted((folder / "templates").glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        for name, arguments in conversations.items():
            arguments = {"tools": None, "documents": None, **arguments}
            cases.append({"template": path.name, "conversation": name, **answer(env, source, arguments)})
    write(folder / "templates.json", cases)
    print(len(cases), "renderings of templates")


main()
