#!/usr/bin/env python3
"""Writes qwen3_code_points.json and added_tokens.json: what Hugging Face's tokenizers answers.

    python make_vectors.py QWEN3_TOKENIZER_JSON TINY_TOKENIZER_JSON
"""

import json
import pathlib
import random
import sys
import unicodedata

from tokenizers import Tokenizer

HERE = pathlib.Path(__file__).parent
SEED = 20


def write(name, value):
    (HERE / name).write_text(json.dumps(value, indent=0) + "\n")


def code_points(path):
    qwen3 = Tokenizer.from_file(path)
    spaces = [*range(9, 14), 0x1C, 0x1F, 0x20, 0x85, 0xA0, 0x1680, 0x180E, *range(0x2000, 0x200E),
              0x2028, 0x2029, 0x202F, 0x205F, 0x2060, 0x3000, 0xFEFF]
    others = [0x17F, 0x212A, 0x212B, 0xDF, 0xFB05, 0x149, 0x1D2C0, 0x31490, 0x1E4D0, 0x11F02, 0xB2,
              0x2160, 0x4E00, 0x660, 0x344, 0xF73, 0x1100, 0x10FFFF, 0xE000, 0]
    texts = []
    for c in map(chr, spaces + others):
        texts.append(f"a{c}b '{c} 1{c}! {c}\n  {c} ")
        texts.append(f"{c}{c}\n{c} x {c}{c}y")
    marks = "\u0301\u0316\u0344\u0f73\u0f75\u0323"
    rng = random.Random(SEED)
    for length in (3, 31, 63, 64, 65, 66, 200, 900):
        texts.append("e" + "".join(rng.choice(marks) for _ in range(length)) + "\u1eadx")
    cases = [{"text": t, "ids": qwen3.encode(t, add_special_tokens=False).ids} for t in texts]
    write("qwen3_code_points.json", cases)


def random_tokens(rng, file, contents):
    tokens, seen = [], set()
    for content in rng.sample(contents, 9):
        normalized = rng.random() < 0.5
        found = unicodedata.normalize("NFC", content) if normalized else content
        if (normalized, found) in seen or content in file["model"]["vocab"]:
            continue
        seen.add((normalized, found))
        flags = {name: rng.random() < 0.4 for name in ("single_word", "lstrip", "rstrip", "special")}
        tokens.append({"id": 2041 + len(tokens), "content": content, "normalized": normalized, **flags})
    return tokens


def added_tokens(path):
    rng = random.Random(SEED)
    contents = ["<x>", " sp ", "  ", "word", "wor", "e\u0301", "A\u030a", "<<", "<<<", "ab", "b c",
                "\u0316\u0301q", "\u4e2d"]
    pool = contents + [" ", "  ", "\n", "a", "_", "\u200d", "<", "e\u0301", "x", "\u00e9"]
    groups = []
    for _ in range(24):
        file = json.loads(pathlib.Path(path).read_text())
        tokens = random_tokens(rng, file, contents)
        group = {"added_tokens": tokens, "ignore_merges": rng.random() < 0.5, "nfc": rng.random() < 0.7}
        file["added_tokens"] += tokens
        file["model"]["ignore_merges"] = group["ignore_merges"]
        if not group["nfc"]:
            file["normalizer"] = None
        made = Tokenizer.from_str(json.dumps(file))
        texts = ["".join(rng.choice(pool) for _ in range(rng.randrange(1, 14))) for _ in range(40)]
        group["cases"] = [{"text": t, "ids": made.encode(t, add_special_tokens=False).ids} for t in texts]
        groups.append(group)
    write("added_tokens.json", groups)


if __name__ == "__main__":
    code_points(sys.argv[1])
    added_tokens(sys.argv[2])
