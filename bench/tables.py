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
    shares = {(cut(r), r["batch"], r["context"]): f"{100 * r['share_of_step']:.0f} %"
              for r in rows("step") if "collectives_us" in r}
    lines = [[cut(r), str(r["layers"]), str(r["batch"]), str(r["context"]), f"{r['step_ms']:.2f}",
              f"{r['bytes'] / 1e9:.1f}", f"{100 * r['share_of_roof']:.0f} %",
              shares.get((cut(r), r["batch"], r["context"]), "")] for r in found]
    text = table(["cut", "layers", "batch", "context", "ms a step", "GB read", "of 4.55 TB/s", "collectives"], lines)
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


# What decode was to reach on an H200, one rank of tp 4: operation, shape, rows, context, the peer's
# microseconds on the same GPU (a text is shown as it is, "cublaslt" is looked up), the mark in microseconds.
MARKS = [
    ("experts", "1024x4096", 256, 0, "DeepGEMM 301 + 164", 390),
    ("experts", "1024x4096", 1, 0, "DeepGEMM 33.9 + 25.2, partly warm", 17),
    ("qkv", "full", 1, 0, "DeepGEMM 9.4, product alone", 5.5),
    ("qkv", "full", 16, 0, "DeepGEMM 8.2, product alone", 5.5),
    ("qkv", "full", 64, 0, "DeepGEMM 7.7, product alone", 5.5),
    ("qkv", "window", 1, 0, "DeepGEMM 9.4, product alone", 5.5),
    ("qkv", "window", 16, 0, "DeepGEMM 8.4, product alone", 5.5),
    ("qkv", "window", 64, 0, "DeepGEMM 7.9, product alone", 5.5),
    ("o_proj", "4096x2048", 1, 0, "cublaslt", 6),
    ("o_proj", "4096x2048", 16, 0, "cublaslt", 6),
    ("o_proj", "4096x2048", 64, 0, "cublaslt", 6),
    ("lm_head", "38144x4096", 1, 0, "cublaslt", 76.3),
    ("lm_head", "38144x4096", 16, 0, "cublaslt", 76.3),
    ("attention", "full decode B1", 1, 4096, "FA3 14.2", 6.5),
    ("attention", "full decode B1", 1, 32768, "FA3 22.5", 10.5),
    ("attention", "full decode B16", 16, 4096, "FA3 20.9", 15),
    ("attention", "full decode B16", 16, 32768, "FA3 93", 84),
    ("attention", "full decode B64", 64, 32768, "FA3 faults", 327.4),
    ("attention", "window decode B1", 1, 4096, "FA3 10.6, no sinks", 4),
    ("attention", "window decode B16", 16, 4096, "FA3 11.3, no sinks", 5),
    ("attention", "window decode B64", 64, 4096, "", 7.5),
    ("route", "256x4096", 1, 0, "", 5),
    ("route", "256x4096", 16, 0, "", 5),
    ("route", "256x4096", 64, 0, "", 5),
    ("route", "256x4096", 256, 0, "", 5),
]
STEP_MARKS = {(1, 4096): 1.9, (16, 4096): 8.6, (64, 4096): 18, (256, 4096): 23,
              (1, 32768): 2.0, (16, 32768): 9.3, (64, 32768): 20.5, (256, 32768): 33}
ALL_REDUCE_MARKS = {8192: 5.5, 131072: 7, 524288: 9, 2097152: 15}


def verdict(ours, mark):
    return "reached" if ours <= mark * 1.005 else f"{100 * (ours / mark - 1):.0f} % over"


def marks_table():
    found = rows("kernel")

    def figure(op, shape, tokens, context):
        hits = [r for r in found if r["op"] == op and r["tokens"] == tokens and r["context"] == context
                and r["shape"].startswith(shape)]
        return hits[0]["us"] if hits else None

    lines = []
    for (batch, context), mark in STEP_MARKS.items():
        hits = [r for r in rows("step") if "rank_of" in r and r.get("batch") == batch and r.get("context") == context
                and "step_ms" in r]
        if hits:
            lines.append(["whole step", "48 layers", str(batch), str(context), "", f"{mark} ms",
                          f"{hits[0]['step_ms']:.2f} ms", verdict(hits[0]["step_ms"], mark)])
    for op, shape, tokens, context, peer, mark in MARKS:
        ours = figure(op, shape, tokens, context)
        if peer == "cublaslt":
            theirs = figure("cublaslt " + op, shape, tokens, context)
            peer = f"cuBLASLt {theirs:.1f}" if theirs else ""
        if ours:
            lines.append([op, shape, str(tokens), str(context) if context else "", peer, f"{mark} us", f"{ours:.1f} us",
                          verdict(ours, mark)])
    for shape in ("full", "window"):
        for runs in (1, 16, 64):
            for context in (4096, 32768):
                one = figure("attention", f"{shape} decode B{runs}", runs, context)
                for several in (2, 4):
                    hits = [r for r in found if r["shape"] == f"{shape} decode B{runs} x {several} rows"
                            and r["context"] == context]
                    if one and hits:
                        ratio = hits[0]["us"] / one
                        lines.append(["attention", f"{shape} B{runs}, {several} rows each", str(runs * several),
                                      str(context), "", f"1.15 x {one:.1f} us", f"{hits[0]['us']:.1f} us",
                                      verdict(ratio, 1.15)])
    norms = {r["tokens"]: r["us"] for r in found if r["op"] == "add_norm"}
    best = {}
    for r in rows("all_reduce"):
        if r["ranks"] == 2 and r["kernel"] != "nccl":
            best[r["bytes"]] = min(best.get(r["bytes"], 1e9), r["us"])
    for size, mark in ALL_REDUCE_MARKS.items():
        norm = norms.get(size // 8192)
        if size in best and norm:
            lines.append(["all-reduce, then add_norm", f"{size} bytes, 2 GPUs", str(size // 8192), "", "", f"{mark} us",
                          f"{best[size]:.1f} + {norm:.1f} us", verdict(best[size] + norm, mark)])
    text = table(["operation", "shape", "rows", "context", "peer, us", "mark", "here", ""], lines)
    return text + (f"\n\n{source(found[0])}." if found else "")


def counter_table():
    found = rows("counters")
    lines = []
    for r in found:
        stalls = ", ".join(f"{name} {value}" for name, value in r["stalls"].items())
        lines.append([r["op"], str(r["tokens"]), str(r["context"]) if r["context"] else "", r["kernel"],
                      f"{r.get('dram_read_mb', 0):.1f}", f"{r.get('dram_percent', 0):.0f} %",
                      f"{r.get('warps_percent', 0):.0f} %", f"{r.get('issue_percent', 0):.0f} %",
                      f"{r.get('blocks', 0):.0f}", f"{r.get('registers', 0):.0f}", stalls])
    return table(["operation", "rows", "context", "kernel", "MB from DRAM", "of DRAM's peak", "warps", "issue slots",
                  "blocks", "registers", "cycles stalled an instruction"], lines)


TABLES = {"step": step_table, "layers": layer_table, "kernels": kernel_table, "all-reduce": all_reduce_table,
          "marks": marks_table, "counters": counter_table}


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
