#!/usr/bin/env python3
"""Hardware counters of single operations, by Nsight Compute: what bounds what misses its mark.

  bench/counters.py KERNEL_BENCH OUT.json [--commit HASH]

Runs on a GPU machine that has ncu and lets it read the counters. A profiled launch runs alone, with cold caches and
at the clocks as they are, so its time is not that of a step; shares, bytes and stalls are what counts here.
"""

import csv
import io
import json
import statistics
import subprocess
import sys

# operation of kernel_bench, rows, context (0: none), kernels counted
CASES = [
    ("attention", 1, 4096, "attention_stream"),
    ("attention", 1, 32768, "attention_stream"),
    ("attention", 16, 4096, "attention_stream"),
    ("attention", 16, 32768, "attention_stream"),
    ("route", 16, 0, "split_kernel"),
    ("route", 256, 0, "cluster_kernel"),
    ("qkv", 1, 0, "resident"),
    ("qkv", 64, 0, "slab"),
    ("lm_head", 16, 0, "swap"),
    ("experts", 16, 0, "swap"),
    ("experts", 1, 0, "experts_few"),
    ("o_proj", 64, 0, "nvjet"),
]
STALLS = ["long_scoreboard", "short_scoreboard", "barrier", "membar", "wait", "sleeping", "math_pipe_throttle",
          "lg_throttle", "mio_throttle", "gmma", "branch_resolving", "no_instruction"]
METRICS = {
    "us": ("gpu__time_duration.sum", 1e-3),
    "dram_read_mb": ("dram__bytes_read.sum", 1e-6),
    "dram_percent": ("dram__throughput.avg.pct_of_peak_sustained_elapsed", 1),
    "warps_percent": ("sm__warps_active.avg.pct_of_peak_sustained_active", 1),
    "issue_percent": ("smsp__issue_active.avg.pct_of_peak_sustained_active", 1),
    "sm_active_percent": ("sm__cycles_active.avg.pct_of_peak_sustained_elapsed", 1),
    "registers": ("launch__registers_per_thread", 1),
    "shared_kb": ("launch__shared_mem_per_block_dynamic", 1 / 1024),
    "blocks": ("launch__grid_size", 1),
}
BASE = {"ns": 1, "us": 1e3, "usecond": 1e3, "ms": 1e6, "nsecond": 1, "byte": 1, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9}


def stall_metric(name):
    return f"smsp__average_warps_issue_stalled_{name}_per_issue_active.ratio"


def launches(text):
    """ncu's CSV (one line a metric of a launch) as {launch: {"kernel": name, metric: value in base units}}."""
    start = text.find('"ID"')
    out = {}
    if start < 0:
        return out
    for line in csv.DictReader(io.StringIO(text[start:])):
        launch = out.setdefault(line["ID"], {"kernel": line["Kernel Name"].removeprefix("void ").split("(")[0].split("<")[0]})
        try:
            launch[line["Metric Name"]] = float(line["Metric Value"].replace(",", "")) * BASE.get(line["Metric Unit"], 1)
        except ValueError:
            continue
    return out


def count(bench, op, rows, context, kernels):
    metrics = [m for m, _ in METRICS.values()] + [stall_metric(s) for s in STALLS]
    command = ["ncu", "--clock-control", "none", "--graph-profiling", "node", "--csv", "--print-units", "base",
               "--kernel-name", f"regex:{kernels}", "--launch-skip", "4", "--launch-count", "6",
               "--metrics", ",".join(metrics), bench, "--ops", op, "--tokens", str(rows)]
    if context:
        command += ["--contexts", str(context)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = launches(done.stdout)
    if not found:
        print(f"{op} {rows} {context}: nothing counted\n{done.stdout[-300:]}{done.stderr[-300:]}", file=sys.stderr)
    by_kernel = {}
    for launch in found.values():
        by_kernel.setdefault(launch["kernel"].split("::")[-1], []).append(launch)
    out = []
    for kernel, group in by_kernel.items():
        def median(metric):
            values = [g[metric] for g in group if metric in g]
            return statistics.median(values) if values else None
        row = {"bench": "counters", "op": op, "tokens": rows, "context": context, "kernel": kernel}
        for key, (metric, factor) in METRICS.items():
            value = median(metric)
            if value is not None:
                row[key] = round(value * factor, 2)
        stalls = {s: median(stall_metric(s)) for s in STALLS}
        top = sorted(((v, s) for s, v in stalls.items() if v), reverse=True)[:3]
        row["stalls"] = {s: round(v, 2) for v, s in top}
        out.append(row)
    return out


def main():
    bench, out = sys.argv[1], sys.argv[2]
    commit = sys.argv[4] if len(sys.argv) > 4 and sys.argv[3] == "--commit" else "unknown"
    rows = []
    for case in CASES:
        for row in count(bench, *case):
            row["commit"] = commit
            rows.append(row)
            print(" ".join(f"{k} {v}" for k, v in row.items() if k not in ("bench", "commit")), flush=True)
        # What was counted is kept when time runs out.
        with open(out, "w") as file:
            file.write("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())
