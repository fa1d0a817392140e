#!/usr/bin/env python3
"""What is drawn under 500 random schemas parses and is what the schema says, as python3-jsonschema
judges it. Exit status 77 where that is not there. MIMO_TEST_SEED replays a run."""

import argparse
import datetime
import ipaddress
import json
import os
import random
import re
import subprocess
import sys
import uuid

sys.dont_write_bytecode = True
try:
    import jsonschema
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

import random_schemas

CLOCK = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-]\d\d:\d\d)"


def has_format(text, name):
    """Own judgement: jsonschema's needs packages that may not be there."""
    if name == "date":
        return datetime.date.fromisoformat(text) is not None
    if name == "time":
        return re.fullmatch(CLOCK, text) is not None
    if name == "date-time":
        date, _, clock = text.partition("T")
        return has_format(date, "date") and has_format(clock, "time")
    if name == "uuid":
        return str(uuid.UUID(text)) == text
    if name == "ipv4":
        return ipaddress.IPv4Address(text) is not None
    if name == "email":
        return re.fullmatch(r"[^@\s]+@([a-z0-9-]+\.)+[a-z]+", text) is not None
    if name == "hostname":
        return re.fullmatch(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]+", text) is not None
    return re.match(r"https?://[a-z0-9]", text) is not None and " " not in text


def checker():
    formats = jsonschema.FormatChecker(formats=())
    for name in random_schemas.FORMATS:
        def check(value, name=name):
            try:
                return not isinstance(value, str) or (value == "0000-01-01" or has_format(value, name))
            except ValueError:
                # Year 0 is a year of RFC 3339 and none of Python's.
                return name in ("date", "date-time") and value.startswith("0000-")
        formats.checks(name)(check)
    return formats


def no_constants(word):
    raise ValueError(f"{word} is not JSON")


def findings(schema, answer, formats):
    """What is wrong with what was drawn under the schema."""
    if "texts" not in answer:
        yield f"{answer}"
        return
    validator = jsonschema.Draft202012Validator(schema, format_checker=formats)
    for shown in answer["texts"]:
        try:
            text = bytes.fromhex(shown).decode("utf-8", errors="strict")
            value = json.loads(text, parse_constant=no_constants)
        except ValueError as wrong:
            yield f"{bytes.fromhex(shown)!r}: {wrong}"
            continue
        for wrong in validator.iter_errors(value):
            yield f"{text}: {wrong.message} (at {list(wrong.absolute_path)})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--walks", required=True, help="the program schema_walks")
    parser.add_argument("--count", type=int, default=500)
    arguments = parser.parse_args()
    seed = int(os.environ.get("MIMO_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
    print(f"MIMO_TEST_SEED={seed}", flush=True)
    rng = random.Random(seed)
    schemas = [random_schemas.random_schema(rng) for _ in range(arguments.count)]
    lines = "\n".join(json.dumps(schema) for schema in schemas) + "\n"
    ran = subprocess.run([arguments.walks, str(seed), "2"], input=lines.encode(),
                         stdout=subprocess.PIPE, check=True, timeout=600)
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(answers) == len(schemas), f"{len(answers)} answers for {len(schemas)} schemas"
    formats = checker()
    num_texts = num_wrong = 0
    for schema, answer in zip(schemas, answers):
        num_texts += len(answer.get("texts", []))
        for finding in findings(schema, answer, formats):
            num_wrong += 1
            if num_wrong <= 20:
                print(f"{json.dumps(schema)[:600]}\n    {finding[:600]}")
    print(f"{len(schemas)} schemas, {num_texts} texts, {num_wrong} wrong")
    sys.exit(1 if num_wrong else 0)


if __name__ == "__main__":
    main()
