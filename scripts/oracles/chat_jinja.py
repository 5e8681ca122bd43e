"""The environment in which transformers renders chat templates, as described in
its documentation: an immutable sandbox, trimmed blocks, break and continue, a
generation statement, a plain tojson, raise_exception and strftime_now."""

import datetime
import json

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

NOW = datetime.datetime(2026, 3, 7, 4, 5, 6, 78901)


class Generation(Extension):
    """{% generation %}: a block with a scope of its own that prints its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


class SafeNamespace(Namespace):
    """A namespace without private attributes."""

    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attrs = dict(*args, **kwargs)
        for name in attrs:
            SafeNamespace.check(name)
        Namespace.__init__(self, attrs)

    def __setitem__(self, name, value):
        SafeNamespace.check(name)
        Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError(f"private attribute {name!r}")


def raise_exception(message):
    raise TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class DictFunction:
    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)

    def fromkeys(self, *args, **kwargs):
        return dict.fromkeys(*args, **kwargs)


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    env.globals["dict"] = DictFunction()
    env.globals["namespace"] = SafeNamespace
    return env


def render(env, source, arguments):
    """The text, or None and the kind of the error."""
    try:
        return env.from_string(source).render(**arguments), None
    except Exception as err:  # whatever a template can raise is an answer
        return None, f"{type(err).__name__}: {err}"[:200]
