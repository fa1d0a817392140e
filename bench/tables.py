#!/usr/bin/env python3
"""The README's GPU tables, made from bench/results/.

  bench/tables.py --write    put them between the markers of README.md and bench/README.md
  bench/tables.py --check    exit status 1 when they differ from the results
"""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PAGES = ["README.md", "bench/README.md"]


def rows(bench):
    """All rows of one bench, of its newest result file."""
    newest = []
    for path in sorted(RESULTS.glob("*.json")):
        data = json.loads(path.read_text())
        found = [row for row in data if isinstance(row, dict) and row.get("bench") == bench]
        newest = found or newest
    return newest


def table(heads, lines):
    out = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join(out + ["| " + " | ".join(line) + " |" for line in lines])


def source(row):
    return f"{row['gpu']}, {row['date']}, commit {row['commit']}"


def cut(row):
    return f"one rank of tp {row['rank_of']}" if "rank_of" in row else f"tp {row['tp']}"


def step_table():
    found = [r for r in rows("step") if "step_ms" in r and "batch" in r]
    lines = [[cut(r), str(r["layers"]), str(r["batch"]), str(r["context"]), f"{r['step_ms']:.2f}",
              f"{r['bytes'] / 1e9:.1f}", f"{100 * r['share_of_roof']:.0f} %"] for r in found]
    text = table(["cut", "layers", "batch", "context", "ms a step", "GB read", "of 4.55 TB/s"], lines)
    fills = [r for r in rows("step") if "prefill_tokens" in r]
    text += "\n\n" + table(["cut", "layers", "prompt tokens a step", "ms", "tokens/s"],
                           [[cut(r), str(r["layers"]), str(r["prefill_tokens"]), f"{r['step_ms']:.0f}",
                             f"{r['tokens_per_s']:.0f}"] for r in fills])
    return text + (f"\n\n{source(found[0])}." if found else "")


def layer_table():
    found = [r for r in rows("step") if "layer_kind" in r]
    lines = [[str(r["batch"]), str(r["context"]), f"{r['layer_kind']} x {r['num']}", f"{r['layer_us']:.1f}",
              f"{r['bytes'] / 1e6:.1f}", f"{100 * r['share_of_roof']:.0f} %", f"{r['launches']:.0f}",
              f"{r['idle_us']:.1f}"] for r in found]
    return table(["batch", "context", "layers", "us each", "MB", "of roof", "launches", "us idle"], lines)


def kernel_table():
    found = rows("kernel")
    lines = []
    for r in found:
        rate = (f"{r['gb_per_s']:.0f} GB/s" if r["gb_per_s"] / 4550 >= r["share_of_roof"] * 0.999
                else f"{r['tflops_per_s']:.0f} TFLOP/s")
        peer = f"{r['peer_us']:.1f} ({r['peer']})" if "peer_us" in r else ""
        context = str(r["context"]) if r["context"] else ""
        lines.append([r["op"], r["shape"], f"tp {r['tp']}", str(r["tokens"]), context, f"{r['us']:.1f}", rate,
                      f"{100 * r['share_of_roof']:.0f} %", peer])
    text = table(["operation", "shape", "cut", "rows", "context", "us", "rate", "of its roof", "peer, us"], lines)
    return text + (f"\n\n{source(found[0])}." if found else "")


def all_reduce_table():
    found = rows("all_reduce")
    kernels = []
    for r in found:
        if r["kernel"] not in kernels:
            kernels.append(r["kernel"])
    sizes = sorted({(r["ranks"], r["bytes"]) for r in found})
    lines = []
    for ranks, size in sizes:
        us = {r["kernel"]: r["us"] for r in found if (r["ranks"], r["bytes"]) == (ranks, size)}
        lines.append([str(ranks), str(size)] + [f"{us[k]:.1f}" if k in us else "" for k in kernels])
    text = table(["GPUs", "bytes"] + [f"{k}, us" for k in kernels], lines)
    return text + (f"\n\n{source(found[0])}." if found else "")


TABLES = {"step": step_table, "layers": layer_table, "kernels": kernel_table, "all-reduce": all_reduce_table}


def filled(text):
    def put(match):
        return f"<!-- bench:{match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->"
    return re.sub(r"<!-- bench:([a-z-]+) -->\n.*?<!-- end -->", put, text, flags=re.S)


def main():
    differ = []
    for name in PAGES:
        path = ROOT / name
        text = path.read_text()
        if filled(text) == text:
            continue
        differ.append(name)
        if sys.argv[1:] == ["--write"]:
            path.write_text(filled(text))
    for name in differ:
        print(f"{name}: its tables {'were' if sys.argv[1:] == ['--write'] else 'are'} not those of bench/results")
    return 1 if differ and sys.argv[1:] != ["--write"] else 0


if __name__ == "__main__":
    sys.exit(main())
