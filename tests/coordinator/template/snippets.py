"""Small expressions and statements: (name, source, context)."""

import snippet_expressions
import snippet_statements

CONTEXT = {
    "i": 7, "neg": -7, "zero": 0, "big": 9007199254740993, "f": 2.5, "tiny": 1e-7, "huge": 1e300,
    "t": True, "no": False, "nil": None, "s": "Hello World", "e": "", "sp": "  x y  ",
    "uni": "na\u00efve \u4f60\u597d \U0001f600 e\u0301", "low": "abc", "up": "ABC", "num": "42",
    "lines": "one\ntwo\r\nthree\n", "q": "it's \"q\" \\ \n\t\x00\x7f\u00a0\u200b\U0001f600",
    "html": "<a href='x'>&\"</a>", "sigma": "\u039f\u0394\u03a3 \u03a3 \u0391\u03a3\u0301.",
    "sharp": "stra\u00dfe \ufb01 \u0149 \u01c6\u01c5", "digits": "\u0661\u0662\u00b2\u2460\u4e00\u00bd",
    "l": [3, 1, 2], "ls": ["b", "A", "c"], "mixed": [1, "a", None, 2.0, True, [1], {"k": 1}],
    "el": [], "nested": [[1, 2], [3, [4, "x"]]], "d": {"b": 1, "a": [1, 2], "C": None},
    "ed": {}, "method": {"items": 1, "get": 2, "update": 3, "__class__": 4, "_x": 5},
    "users": [{"name": "Bob", "age": 30, "tags": ["x"], "address": {"city": "Rome"}},
              {"name": "alice", "age": 25, "tags": [], "address": {"city": "oslo"}},
              {"name": "Carol", "age": 30, "active": True, "address": {"city": "rome"}}],
    "floats": [0.1, 1.0, 1e16, 1e15, 123456789.123, 1e-5, 0.0001, -0.0, 5e-324, 1.7976931348623157e308],
}


def cases():
    found = [(f"expression {number}", "{{ " + text + " }}", CONTEXT)
             for number, text in enumerate(snippet_expressions.EXPRESSIONS)]
    found += [(f"statement {number}", text, CONTEXT)
              for number, text in enumerate(snippet_statements.STATEMENTS)]
    return found
