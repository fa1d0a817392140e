"""Templates made from a grammar: (name, source, context)."""

import random

import snippets

NUM_EXPRESSIONS = 1200
NUM_TEMPLATES = 600

NAMES = ["i", "neg", "zero", "f", "t", "no", "nil", "s", "e", "sp", "uni", "low", "num", "lines", "q",
         "html", "l", "ls", "mixed", "el", "nested", "d", "ed", "users", "floats", "undef", "x", "y"]
CONSTANTS = ["0", "1", "2", "-1", "3", "7", "0.5", "2.0", "-1.5", "true", "false", "none", "''", "'a'",
             "'b c'", "'é'", "'%s'", "'{}'", "'name'", "[]", "{}", "()", "'A-b'"]
# No methods and no bare iterators: their text has an address in it, and what is made of that too.
ATTRIBUTES = ["a", "b", "name", "age", "first", "zz", "tags", "address", "real"]
LAZY = ["map", "select", "reject", "selectattr", "rejectattr", "unique", "items", "batch", "slice",
        "reverse"]
# What is no key fails when Jinja folds constants, run or not.
KEYS = ["0", "1", "2.0", "true", "none", "'a'", "'é'"]
FILTERS = ["upper", "lower", "title", "capitalize", "trim", "length", "count", "list", "string", "int",
           "float", "abs", "first", "last", "min", "max", "sum", "sort", "unique", "reverse", "items",
           "dictsort", "tojson", "e", "safe", "wordcount", "join", "default", "round", "indent",
           "escape", "map", "select", "reject", "batch", "slice", "format", "center", "replace",
           "selectattr", "rejectattr", "groupby", "truncate", "d", "forceescape"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "mapping",
         "sequence", "iterable", "true", "false", "odd", "even", "upper", "lower", "callable", "escaped"]
ARGUMENT_TESTS = ["eq", "ne", "lt", "gt", "ge", "le", "in", "sameas", "divisibleby", "equalto"]
METHODS = ["upper", "lower", "title", "capitalize", "strip", "lstrip", "rstrip", "split", "rsplit",
           "splitlines", "startswith", "endswith", "replace", "join", "find", "rfind", "count", "format",
           "isdigit", "isalpha", "isalnum", "isspace", "removeprefix", "removesuffix", "zfill", "items",
           "keys", "values", "get", "index", "copy", "append", "update", "swapcase", "center",
           "partition", "isupper", "islower", "istitle", "ljust", "rjust"]
OPERATORS = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">", "<=", ">=", "in", "not in", "and",
             "or"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, choices):
        return self.random.choice(choices)

    def chance(self, percent):
        return self.random.randrange(100) < percent

    def arguments(self, depth, most=3):
        given = [self.expression(depth - 1) for _ in range(self.random.randrange(most))]
        if self.chance(10):
            names = ["attribute", "reverse", "width", "count", "default", "d", "a", "first", "indent"]
            given.append(f"{self.pick(names)}={self.expression(depth - 1)}")
        return ", ".join(given)

    def expression(self, depth):
        if depth <= 0 or self.chance(15):
            return self.pick(NAMES) if self.chance(65) else self.pick(CONSTANTS)
        kind = self.random.randrange(15)
        inner = lambda: self.expression(depth - 1)
        if kind < 3:
            return f"{inner()} {self.pick(OPERATORS)} {inner()}"
        if kind < 6:
            name = self.pick(FILTERS)
            call = f"({self.arguments(depth)})" if self.chance(50) else ""
            end = " | list" if name in LAZY else ""
            return f"({inner()}) | {name}{call}{end}"
        if kind == 6:
            negated = "not " if self.chance(30) else ""
            if self.chance(50):
                return f"{self.pick(NAMES)} is {negated}{self.pick(TESTS)}"
            return f"{self.pick(NAMES)} is {negated}{self.pick(ARGUMENT_TESTS)}({inner()})"
        if kind == 7:
            return f"{self.pick(NAMES)}.{self.pick(METHODS)}({self.arguments(depth)})"
        if kind == 8:
            return f"{self.pick(NAMES)}.{self.pick(ATTRIBUTES)}"
        if kind == 9:
            return f"{self.pick(NAMES)}[{inner()}]"
        if kind == 10:
            parts = [inner() if self.chance(50) else "" for _ in range(2)]
            step = f":{self.pick(['-1', '2', '-2', '1'])}" if self.chance(40) else ""
            return f"{self.pick(NAMES)}[{parts[0]}:{parts[1]}{step}]"
        if kind == 11:
            otherwise = f" else {inner()}" if self.chance(70) else ""
            return f"({inner()} if {inner()}{otherwise})"
        if kind == 12:
            items = ", ".join(inner() for _ in range(self.random.randrange(4)))
            return self.pick([f"[{items}]", f"({items},)" if items else "()"])
        if kind == 13:
            return f"{{{self.pick(KEYS)}: {inner()}, 'k': {inner()}}}"
        return f"{self.pick(['not ', '-', '', '+'])}({inner()})"

    def tag(self, inside):
        return ("{%" + self.pick(["", "", "-", "+"]) + " " + inside + " "
                + self.pick(["", "", "-", "+"]) + "%}")

    def text(self):
        return self.pick(["a", " b ", "\n", "\n  ", "  \n", "c\n", "", "\t", "é", "}} ", "# "])

    def block(self, depth, in_loop):
        return "".join(self.statement(depth, in_loop) + self.text()
                       for _ in range(1 + self.random.randrange(3)))

    def statement(self, depth, in_loop):
        inner = lambda loop=in_loop: self.block(depth - 1, loop)
        kind = self.random.randrange(12) if depth > 0 else 0
        value = self.expression(2)
        if kind < 3:
            shown = self.pick([value, self.pick(NAMES), "loop.index", "loop.last", "x", "ns.n"])
            return "{{" + self.pick(["", "-"]) + f" {shown} " + self.pick(["", "-"]) + "}}"
        if kind == 3:
            end = self.tag("else") + inner() if self.chance(50) else ""
            return self.tag(f"if {value}") + inner() + end + self.tag("endif")
        if kind in (4, 5):
            target = self.pick(["x", "y", "x, y", "i"])
            source = self.pick(["l", "ls", "d.items()", "nested", "users", "'ab'", value])
            test = f" if {self.expression(1)}" if self.chance(25) else ""
            end = self.tag("else") + inner() if self.chance(25) else ""
            return self.tag(f"for {target} in {source}{test}") + inner(True) + end + self.tag("endfor")
        if kind == 6:
            return self.tag(f"set {self.pick(['x', 'y', 'i', 'x, y', 'ns.n'])} = {value}")
        if kind == 7:
            return self.tag(f"set {self.pick(['x', 'y'])}") + inner() + self.tag("endset")
        if kind == 8:
            name = self.pick(["m", "n"])
            call = "{{ " + f"{name}({self.arguments(1)})" + " }}"
            return (self.tag(f"macro {name}({self.pick(['', 'x', 'x, y=1', 'y=i'])})") + inner(False)
                    + self.tag("endmacro") + call)
        if kind == 9:
            return self.tag(f"filter {self.pick(['upper', 'trim', 'length', 'e'])}") + inner() + self.tag("endfilter")
        if kind == 10:
            return self.tag(f"with {self.pick(['x', 'y'])} = {value}") + inner() + self.tag("endwith")
        if in_loop and self.chance(60):
            return self.tag(f"if {self.expression(1)}") + self.tag(self.pick(["break", "continue"])) + self.tag("endif")
        return self.pick(["{# c #}", "{#- c -#}", "{% raw %}{{ x }}{% endraw %}",
                          "{% generation %}{{ x }}{% endgeneration %}"])


def cases(seed):
    maker = Maker(seed)
    found = [(f"expression {number}", "{{ " + maker.expression(3) + " }}", snippets.CONTEXT)
             for number in range(NUM_EXPRESSIONS)]
    for number in range(NUM_TEMPLATES):
        source = "{% set ns = namespace(n=0) %}" + maker.block(3, False)
        found.append((f"template {number}", source, snippets.CONTEXT))
    return found
