#!/usr/bin/env python3
"""Runs the demo under many seeds and counts how often each suspect rejects.

    cargo build --release && python3 lab/demo_seeds.py --seeds 20 > lab/record/demo-seeds.md

A negative control may reject no more often than its level: the counts stand beside the upper 99.9 % binomial limit.
Standard library only.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections import defaultdict


def run(binary, seed, tokens, out):
    command = [binary, "demo", "--seed", str(seed), "--tokens", str(tokens), "--json", "--out", out]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result["suspects"] + result["innocents"]


def upper_limit(n, level):
    """The smallest c with P(X > c) <= 0.001 for X ~ Binomial(n, level)."""
    tail, c = 1.0, -1
    while tail > 0.001:
        c += 1
        tail -= math.comb(n, c) * level**c * (1 - level) ** (n - c)
    return c


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/taggant")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=100_000)
    options = parser.parse_args()
    lines = defaultdict(list)
    with tempfile.TemporaryDirectory() as out:
        for seed in range(options.first, options.first + options.seeds):
            for line in run(options.binary, seed, options.tokens, out):
                lines[line["name"], line["access"]].append(line)
            print(f"seed {seed} done", file=sys.stderr)
    levels = [0.05, 0.01, 0.001]
    n = options.seeds
    limits = "/".join(str(upper_limit(n, level)) for level in levels)
    print(f"{n} seeds from {options.first}, {options.tokens} tokens. Rejections at 5 %/1 %/0.1 %; "
          f"a valid test stays within {limits} (upper 99.9 % binomial limit).\n")
    print("| suspect | access | green rate, mean | log10 p: least, median, largest | rejections | verdicts |")
    print("|---|---|---|---|---|---|")
    for (name, access), found in lines.items():
        log10 = sorted(line["ln_p"] / math.log(10) for line in found)
        rejections = "/".join(str(sum(line["ln_p"] <= math.log(level) for line in found)) for level in levels)
        verdicts = sorted({line["verdict"] for line in found})
        verdicts = ", ".join(f"{sum(line['verdict'] == verdict for line in found)} {verdict}" for verdict in verdicts)
        mean = sum(line["estimate"] for line in found) / n
        span = f"{log10[0]:.2f}, {log10[n // 2]:.2f}, {log10[-1]:.2f}"
        print(f"| {name} | {access} | {mean:.4f} | {span} | {rejections} | {verdicts} |")


if __name__ == "__main__":
    main()
