#!/usr/bin/env python3
"""Holds the tree to its own rules: who may include whom, sizes, words, who parses and who reads the
environment. Prints one line a finding; exit status 1 when there is one."""

import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Who may include whom. A name with a slash is one header or one part of a room.
ROOMS = {
    "base": set(),
    "checkpoint": {"base"},
    "grammar": {"base", "checkpoint"},
    "kernels": {"base"},
    "parallel": {"base", "checkpoint/model_config.h", "checkpoint/kv_scale.h", "kernels/device",
                 "kernels/cuda/launch.h", "kernels/cuda/cuda_check.h"},
    "kvcache": {"base", "kernels/ops.h"},
    "node": {"base", "checkpoint", "kernels", "parallel", "kvcache", "grammar", "mimo/v1"},
    "coordinator": {"base", "checkpoint", "parallel/shard.h", "kvcache/keys.h", "mimo/v1"},
    "cli": {"base", "checkpoint", "parallel/shard.h", "parallel/shard_bytes.h", "kernels/ops.h", "kvcache/kv_spec.h",
            "mimo/v1", "coordinator", "node"},
}
# Builds on a bare GPU machine.
BARE = ("base/", "checkpoint/", "grammar/", "kernels/", "parallel/", "kvcache/", "node/engine/", "node/model/")
BARE_BANNED = re.compile(r'#include [<"](grpcpp|grpc|google/protobuf|mimo/v1|prometheus|toml)')

HOST_FILE_LINES, DEVICE_FILE_LINES = 400, 600
HOST_FUNCTION_LINES, DEVICE_FUNCTION_LINES = 70, 100
BANNED_WORDS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
SOURCE_SUFFIXES = {".h", ".cc", ".cu", ".cuh"}


# Not ours, or made from what is.
SKIPPED_FOLDERS = {".git", "build", "out", "__pycache__", ".venv"}


def files_of_the_tree():
    paths = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [f for f in folders if f not in SKIPPED_FOLDERS and not f.startswith("build-")]
        paths += [str((pathlib.Path(folder) / file).relative_to(ROOT)) for file in files]
    return sorted(paths)


def blank(text):
    """The text with comments and literals turned to spaces, line breaks kept."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(?P<d>[^(\s]*)\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"'
        r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'", re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def functions(text):
    """(first line, lines, heading) of each function body, lambdas counted with what holds them."""
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group()),
                  blank(text), flags=re.M)
    found, stack, start = [], [], 0
    for at, char in enumerate(code):
        if char == "{":
            heading = code[start:at].strip()
            outer_is_function = any(kind == "function" for kind, _, _ in stack)
            last_word = re.match(r"(?:template\s*<.*?>\s*)?(namespace|class|struct|union|enum|extern)\b",
                                 heading, re.S)
            is_function = (not outer_is_function and "(" in heading and not last_word
                           and not re.search(r"=\s*$", heading))
            stack.append(("function" if is_function else "block", at, heading))
            start = at + 1
        elif char == "}":
            if stack:
                kind, opened, heading = stack.pop()
                if kind == "function":
                    first = code.count("\n", 0, opened) + 1
                    last = code.count("\n", 0, at) + 1
                    found.append((first, last - first + 1, heading.split("(")[0].split()[-1:]))
            start = at + 1
        elif char == ";":
            start = at + 1
    return found


def check_includes(path, text, report):
    room = path.split("/")[0]
    if room not in ROOMS:
        return
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#include "([^"]+)"', line)
        if not match:
            continue
        target = match.group(1)
        if "/" not in target:
            report(path, number, f'include "{target}" by its path from the root')
        elif target.split("/")[0] != room and not any(
                target == ok or target.startswith(ok + "/") for ok in ROOMS[room]):
            report(path, number, f"{room}/ may not include {target}")
        if target.startswith("mimo/v1") and not path.startswith(
                ("node/service/", "node/main.cc", "coordinator/", "cli/")):
            report(path, number, "only node's service, coordinator and cli speak proto")
    if path.startswith(BARE):
        for number, line in enumerate(text.splitlines(), 1):
            if BARE_BANNED.match(line):
                report(path, number, "this room builds without gRPC, protobuf, prometheus and TOML")


def check_sizes(path, text, report):
    device = path.endswith((".cu", ".cuh"))
    lines = text.count("\n")
    bound = DEVICE_FILE_LINES if device else HOST_FILE_LINES
    if lines > bound:
        report(path, 1, f"{lines} lines, at most {bound}")
    bound = DEVICE_FUNCTION_LINES if device else HOST_FUNCTION_LINES
    for first, length, name in functions(text):
        if length > bound:
            report(path, first, f"function {' '.join(name)} has {length} lines, at most {bound}")


def check_words(path, text, report):
    for number, line in enumerate(text.splitlines(), 1):
        if BANNED_WORDS.search(line):
            report(path, number, "a note to come back belongs into an issue")
        if path.endswith((".h", ".cuh")) and re.match(r"\s*using namespace", line):
            report(path, number, "using namespace in a header")
        if re.search(r"\b(std::)?getenv\(", line) and not path.endswith("main.cc") \
                and not path.startswith(("tests/", "bench/")):
            report(path, number, "only main.cc reads the environment")
        if re.match(r"#include <toml", line) and not path.endswith("config.cc"):
            report(path, number, "only config.cc parses TOML")
        if re.search(r"\bassert\(", line) and "static_assert" not in line:
            report(path, number, "CHECK, which is always on, instead of assert")


def check_room_readmes(paths, report):
    rooms = {p.split("/")[0] for p in paths if p.endswith("CMakeLists.txt") and "/" in p} - {"cmake"}
    for room in sorted(rooms | {"deploy"}):
        if f"{room}/README.md" not in paths:
            report(f"{room}/README.md", 1, "every room has its page")


def main():
    findings = []

    def report(path, line, what):
        findings.append(f"{path}:{line}: {what}")

    paths = files_of_the_tree()
    for path in paths:
        if pathlib.Path(path).suffix not in SOURCE_SUFFIXES:
            continue
        text = (ROOT / path).read_text(encoding="utf-8")
        check_includes(path, text, report)
        check_sizes(path, text, report)
        check_words(path, text, report)
        if path.endswith((".h", ".cuh")) and "#pragma once" not in text:
            report(path, 1, "#pragma once is missing")
    check_room_readmes(set(paths), report)
    for line in findings:
        print(line)
    print(f"tidy: {len(findings)} findings in {len(paths)} files")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
