#!/usr/bin/env python3
"""Random JSON Schemas of what grammar/ supports: random_schema(random.Random(seed)).

As a program: prints COUNT of them, one a line: random_schemas.py [--seed N] [--count N]."""

import argparse
import json
import random

NAMES = ["id", "name", "na", "names", "value", "kind", "first name", "gr\u00fcn", "\u6f22\u5b57",
         "\U0001f600", "with \"quotes\"", "back\\slash", "new\nline", "", "a/b", "~tilde", "x" * 40]
TEXTS = ["red", "green", "", "two words", "tab\tand \"quote\"", "\u00e9t\u00e9", "\U0001f680 up",
         "\u2028", "<think>", "a\\b", "caf\u00e9 \u6f22"]
# Such that Python's `re` and ECMAScript agree, and that a text drawn at random gets there.
PATTERNS = ["^[a-z]{2,6}$", "^\\d{3}-\\d{4}$", "[A-Z][a-z]+", "^(yes|no|maybe)$", "^.{1,12}$", "^x",
            "^[^a-z]{2,5}$", "^\\w+@\\w+\\.(org|net)$", "^a*b?c+$", "^\"[\\\\/]\"$", "^\\t|^ $",
            "^[\\u4e00-\\u9fff]{1,3}$", "^(ab|cd){2,3}$", "^(|a)(b|)$", "^[0-9a-f]{8}(-[0-9a-f]{4}){2}$"]
FORMATS = ["date", "time", "date-time", "uuid", "ipv4", "email", "hostname", "uri"]


def annotated(rng, schema):
    """The schema, now and then with words that say nothing about values."""
    if schema is True:
        return schema
    if rng.random() < 0.2:
        schema = {**schema, "title": rng.choice(NAMES), "description": "about this"}
    if rng.random() < 0.1:
        schema = {**schema, "default": rng.choice([None, 1, "x"]), "examples": [1, {}]}
    return schema


def random_constant(rng, depth=1):
    kinds = ["text", "text", "integer", "number", "boolean", "null"]
    kind = rng.choice(kinds + ["array", "object"] if depth > 0 else kinds)
    if kind == "text":
        return rng.choice(TEXTS)
    if kind == "integer":
        return rng.choice([0, 1, -7, 12345678901234])
    if kind == "number":
        return rng.choice([0.5, -2.25, 1e-07, 3.141592653589793])
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "array":
        return [random_constant(rng, 0) for _ in range(rng.randrange(3))]
    if kind == "object":
        return {rng.choice(NAMES): random_constant(rng, 0) for _ in range(rng.randrange(3))}
    return None


def random_string(rng):
    schema = {"type": "string"}
    kind = rng.randrange(5)
    if kind == 1:
        schema["pattern"] = rng.choice(PATTERNS)
    elif kind == 2:
        schema["format"] = rng.choice(FORMATS)
    elif kind >= 3:
        low = rng.choice([0, 0, 1, 3, 20])
        if rng.random() < 0.7:
            schema["maxLength"] = low + rng.choice([0, 1, 4, 30, 300])
        if low or rng.random() < 0.3:
            schema["minLength"] = low
    return schema


def random_integer(rng):
    schema = {"type": "integer"}
    low = rng.choice([-100000, -17, -1, 0, 1, 9, 99, 123456])
    high = low + rng.choice([0, 1, 8, 90, 1000, 987654321])
    if rng.random() < 0.5:
        schema["exclusiveMinimum" if rng.random() < 0.3 else "minimum"] = low
    if rng.random() < 0.5:
        schema["exclusiveMaximum" if rng.random() < 0.3 else "maximum"] = high + 2
    if rng.random() < 0.15:
        return {"type": "integer", "minimum": low, "maximum": low + 500,
                "multipleOf": rng.choice([2, 5, 7, 100])}
    return schema


def random_number(rng):
    schema = {"type": "number"}
    low = rng.choice([-1000, -2.5, -0.001, 0, 0.25, 1, 3.14159, 99.99])
    high = low + rng.choice([0.5, 0.0625, 1, 10, 1234.5])
    if rng.random() < 0.5:
        schema["exclusiveMinimum" if rng.random() < 0.4 else "minimum"] = low
    if rng.random() < 0.5:
        schema["exclusiveMaximum" if rng.random() < 0.4 else "maximum"] = round(high, 6)
    return schema


def random_array(rng, depth, defs):
    schema = {"type": "array"}
    if rng.random() < 0.25:
        schema["prefixItems"] = [random_value(rng, depth - 1, defs)
                                 for _ in range(rng.randrange(1, 4))]
    if rng.random() < 0.8:
        schema["items"] = (rng.random() < 0.5 if rng.random() < 0.1 and "prefixItems" in schema
                           else random_value(rng, depth - 1, defs))
    fixed = len(schema.get("prefixItems", []))
    low = fixed if schema.get("items") is False else fixed + rng.choice([0, 0, 1, 2])
    if rng.random() < 0.4:
        schema["minItems"] = low
    if rng.random() < 0.5:
        schema["maxItems"] = low + rng.choice([0, 1, 3, 150])
    if rng.random() < 0.1:
        schema["uniqueItems"] = False
    return schema


def random_object(rng, depth, defs):
    kind = rng.randrange(8)
    value = lambda: random_value(rng, depth - 1, defs)
    if kind == 0:
        schema = {"type": "object", "additionalProperties": value()}
        if rng.random() < 0.3:
            schema["propertyNames"] = {"pattern": "^[a-z_]{1,8}$"}
        if rng.random() < 0.4:
            schema["maxProperties"] = rng.choice([0, 1, 3])
        return schema
    if kind == 1:
        return {"type": "object", "patternProperties": {rng.choice(["^x-", "^[0-9]+$", "^id"]): value()},
                "additionalProperties": False}
    names = rng.sample(NAMES, rng.randrange(1, 6))
    schema = {"type": "object", "properties": {name: value() for name in names}}
    if rng.random() < 0.7:
        schema["required"] = rng.sample(names, rng.randrange(len(names) + 1))
    draw = rng.random()
    if draw < 0.3:
        schema["additionalProperties"] = False
    elif draw < 0.45:
        schema["additionalProperties"] = rng.choice([True, {"type": "integer"}])
    elif draw < 0.6:
        required = len(schema.get("required", []))
        schema["minProperties"] = rng.randrange(required, len(names) + 1)
        if rng.random() < 0.5:
            schema["maxProperties"] = rng.randrange(schema["minProperties"], len(names) + 1)
    return schema


def random_one_of(rng, depth, defs):
    if rng.random() < 0.5:
        return {"oneOf": [random_string(rng), random_integer(rng), {"type": ["null", "boolean"]}]}
    kinds = rng.sample(["cat", "dog", "cow"], 2)
    return {"oneOf": [{"type": "object", "required": ["kind"],
                       "properties": {"kind": {"const": kind},
                                      "of": random_value(rng, depth - 1, defs)}} for kind in kinds]}


def random_reference(rng, defs):
    """To a definition; some of them come round to themselves."""
    name = rng.choice(["tree", "list", "plain", "a/b~c d"])
    if name == "tree":
        defs[name] = {"type": "object", "required": ["leaf"], "properties": {
            "leaf": {"type": "integer"},
            "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 3}}}
    elif name == "list":
        defs[name] = {"anyOf": [{"type": "null"}, {
            "type": "object", "properties": {"next": {"$ref": "#/$defs/list"}},
            "required": ["next"], "additionalProperties": False}]}
    elif name not in defs:
        defs[name] = random_string(rng)
    return {"$ref": "#/$defs/" + name.replace("~", "~0").replace("/", "~1").replace(" ", "%20")}


def random_value(rng, depth, defs):
    leaves = [lambda: random_string(rng), lambda: random_string(rng), lambda: random_integer(rng),
              lambda: random_number(rng), lambda: {"type": "boolean"}, lambda: {"type": "null"},
              lambda: {"const": random_constant(rng)},
              lambda: {"enum": [random_constant(rng) for _ in range(rng.randrange(1, 5))]},
              lambda: {"type": ["string", "null"], "maxLength": 5},
              lambda: {"type": ["integer", "number"], "minimum": 2.5}]
    if depth <= 0:
        return annotated(rng, rng.choice(leaves)())
    inner = [lambda: random_object(rng, depth, defs), lambda: random_object(rng, depth, defs),
             lambda: random_array(rng, depth, defs), lambda: random_array(rng, depth, defs),
             lambda: {"anyOf": [random_value(rng, depth - 1, defs)
                                for _ in range(rng.randrange(1, 4))]},
             lambda: random_one_of(rng, depth, defs),
             lambda: {"allOf": [random_value(rng, depth - 1, defs)]},
             lambda: random_reference(rng, defs), lambda: rng.choice([{}, True])]
    return annotated(rng, rng.choice(inner + leaves[:4])())


def random_schema(rng, depth=3):
    """A schema that has values, most often an object's."""
    defs = {}
    top = random_object(rng, depth, defs) if rng.random() < 0.7 else random_value(rng, depth, defs)
    if top is True:
        top = {}
    if defs:
        top = {**top, "$defs": defs}
    return top


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=500)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    for _ in range(arguments.count):
        print(json.dumps(random_schema(rng)))


if __name__ == "__main__":
    main()
