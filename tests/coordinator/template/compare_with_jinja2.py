#!/usr/bin/env python3
"""Our templates against Jinja's, byte for byte: the same text, or an error on both sides.

Exit status 77 where there is no Jinja. MIMO_TEST_SEED replays the random suite."""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys

sys.dont_write_bytecode = True
try:
    import jinja2_reference as reference
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

import conversations
import random_templates
import snippets

HERE = pathlib.Path(__file__).resolve().parent
TINY = HERE.parents[2] / "models" / "tiny" / "chat_template.jinja"


def cases_of(suite):
    """(name, template, context) of a suite."""
    if suite == "conversations":
        source = TINY.read_text(encoding="utf-8")
        return [(name, source, context) for name, context in conversations.contexts()]
    if suite == "families":
        cases = []
        for path in sorted((HERE / "families").glob("*.jinja")):
            source = path.read_text(encoding="utf-8")
            cases += [(f"{path.name}: {name}", source, context)
                      for name, context in conversations.contexts()]
        return cases
    if suite == "snippets":
        return snippets.cases()
    seed = int(os.environ.get("MIMO_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"MIMO_TEST_SEED={seed} replays this")
    return random_templates.cases(seed)


def ours(program, cases):
    now = reference.NOW
    fields = [now.year, now.month, now.day, now.hour, now.minute, now.second,
              (now.weekday() + 1) % 7, now.timetuple().tm_yday - 1]
    requests = "".join(
        json.dumps({"template": source, "context": context, "now": fields}) + "\n"
        for _, source, context in cases)
    done = subprocess.run([program], input=requests, capture_output=True, text=True,
                          encoding="utf-8", check=False)
    answers = [json.loads(line) for line in done.stdout.split("\n") if line]
    if done.returncode != 0 or len(answers) != len(cases):
        name, source, context = cases[min(len(answers), len(cases) - 1)]
        sys.exit(f"{program} ended with {done.returncode} at {name}: {source!r}\n"
                 f"{json.dumps(context)}\n{done.stderr}")
    return answers


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--render", required=True, help="the program template_render_cases")
    parser.add_argument("--suite", required=True)
    parser.add_argument("--show", action="store_true", help="print every case")
    arguments = parser.parse_args()
    cases = cases_of(arguments.suite)
    num_different = 0
    num_errors = 0
    for (name, source, context), answer in zip(cases, ours(arguments.render, cases)):
        expected = reference.render(source, context)
        failed = isinstance(expected, Exception)
        num_errors += failed
        # An object's address is nobody's text.
        if not failed and " at 0x" in expected.lower():
            continue
        same = "error" in answer if failed else answer.get("text") == expected
        # What raise_exception says comes through as it is.
        if failed and type(expected).__name__ == "TemplateError":
            same = answer.get("error") == str(expected)
        if arguments.show:
            print(f"{name}: {source!r} -> {answer}")
        if same:
            continue
        num_different += 1
        if num_different <= 20:
            shown = answer.get("text", answer)
            at = 0
            if not failed and "text" in answer:
                at = len(os.path.commonprefix([shown, expected]))
            at = max(at - 40, 0) if at > 100 else 0
            print(f"--- {name}\n{source if len(source) < 600 else source[:60] + '...'}")
            print(f"jinja2:   {str(expected)[at:at + 300] if not failed else expected!r}\n"
                  f"ours:     {str(shown)[at:at + 300]}")
    print(f"{len(cases)} cases ({num_errors} of them errors), {num_different} different")
    return 1 if num_different else 0


if __name__ == "__main__":
    sys.exit(main())
