"""Renders a template as transformers does: what ours is compared with."""

import copy
import datetime
import json

import jinja2
import jinja2.exceptions
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

NOW = datetime.datetime(2026, 3, 7, 4, 5, 9)


class Generation(jinja2.ext.Extension):
    """{% generation %}: the body is a call block's, and its text stays as it is."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_text"), [], [], body).set_lineno(line)

    def _text(self, caller):
        return caller()


def _raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def _tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = _tojson
    env.globals["raise_exception"] = _raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


_ENVIRONMENT = environment()
_COMPILED = {}


def render(source, context):
    """The text, or an Exception: whatever was raised while compiling or rendering."""
    try:
        if source not in _COMPILED:
            _COMPILED[source] = _ENVIRONMENT.from_string(source)
        # A copy: `list | indent` lengthens the list even in the immutable sandbox.
        text = _COMPILED[source].render(**copy.deepcopy(context))
        text.encode("utf-8")
        return text
    except Exception as error:  # pylint: disable=broad-except
        return error
