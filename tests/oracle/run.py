#!/usr/bin/env python3
"""Compares `taggant score --json` with an independent second implementation, number by number.

    python3 tests/oracle/run.py --binary target/release/taggant [--bundle taggant-demo/bundle.json]

Exit 0 when everything agrees, 1 when something does not; each disagreement names input, field and both values.
"""

import argparse
import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile
from fractions import Fraction

from mpmath import mpf

import bundle
import exact
import inputs
import rows
from keyed import Spec, key_id

SPECS = [
    "green/1/w0/b1/t1",
    "green/1/w0/b8/t40",
    "green/1/w1/b1/t1",
    "green/1/w1/b2/t1",
    "green/1/w1/b2/t3",
    "green/1/w2/b2/t1",
    "green/1/w2/b8/t77",
    "green/1/w4/b4/t5",
    "green/1/w3/b16/t9000",
    "green/1/w16/b32/t1000000000",
    "gumbel/1/w0",
    "gumbel/1/w1",
    "gumbel/1/w4",
    "gumbel/1/w2+2",
]
LONG = ["green/1/w1/b2/t1", "green/1/w2/b8/t77", "gumbel/1/w1"]
STATISTICS = ["distinct", "root-count"]
RELATIVE = 1e-9
OUTWARD = 1e-6  # how far a tail that is rounded outward may lie above the exact one, in ln p
ROUNDING = 1e-15  # how far, relatively, it may lie below: the unit roundoff of the double that is printed


class Comparisons:
    """Counts comparisons by number, and keeps the largest difference and every disagreement."""

    def __init__(self):
        self.counts, self.largest, self.apart, self.wrong = {}, {}, {}, []

    def add(self, source, field, found, expected, outward=False):
        """Whole numbers, names and lists of them must be equal; real numbers must be close."""
        name = field + (" (outward)" if outward else "")
        self.counts[name] = self.counts.get(name, 0) + 1
        if expected is None or isinstance(expected, (str, int, list)) or found is None:
            difference = 0.0 if found == expected else math.inf
            agrees = found == expected
        else:
            gap = mpf(found) - mpf(expected)
            difference = float(abs(gap) / max(1, abs(expected)))
            agrees = difference <= RELATIVE
            if outward:
                agrees = -ROUNDING * max(1, abs(expected)) <= gap <= OUTWARD
        if agrees:
            self.largest[name] = max(self.largest.get(name, 0.0), difference)
        else:
            self.apart[name] = self.apart.get(name, 0) + 1
            shown = expected if expected is None or isinstance(expected, (str, int, list)) else float(expected)
            self.wrong.append(f"{source}: {field}: the program has {found!r}, the oracle {shown!r}")

    def table(self):
        lines = [f"{'number':<28} {'comparisons':>11} {'disagree':>9} {'largest difference of the others':>33}"]
        for name in sorted(self.counts):
            largest = f"{self.largest.get(name, 0.0):.2g}"
            lines.append(f"{name:<28} {self.counts[name]:>11} {self.apart.get(name, 0):>9} {largest:>33}")
        return "\n".join(lines)


def flat(document):
    """Nested objects under dotted names."""
    found = {}
    for name, value in document.items():
        found |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    return found


def compare(comparisons, source, found, expected):
    for name, value in expected.items():
        if name not in found:
            comparisons.add(source, name, "nothing", "a value")
        elif name == "interval":
            for end, at in {"low": 0, "high": 1}.items():
                comparisons.add(source, f"interval, {end}", (found[name] or [None, None])[at], value[at])
        else:
            outward = name in ("ln_p", "log10_p") and expected["method"] == "exact-lattice"
            comparisons.add(source, name, found[name], value, outward)


def score(binary, folder, name, lines, spec, statistic, number):
    """The program's own answer, from files that it reads; None where it says that nothing is left to score."""
    key, path = folder / f"key-{number}.json", folder / f"{name}.jsonl"
    if not key.exists():
        document = {"format": "taggant-key/1", "created": "2026-01-01T00:00:00Z", "secret": inputs.secret(number).hex()}
        key.write_text(json.dumps(document))
        key.chmod(0o600)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [binary, "score", "--json", "--key", key, "--epoch", inputs.DEFAULT_EPOCH]
    command += ["--spec", spec.text, "--statistic", statistic, path]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if result.returncode == 2 and "no draw is left to score" in result.stderr:
        return None
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {result.returncode}: {result.stderr}")
    return flat(json.loads(result.stdout))


def cases():
    """(name, rows, spec, number of the secret)."""
    for index, text in enumerate(SPECS):
        spec = Spec.parse(text)
        number = index % 3
        secret = inputs.secret(number)
        name = text.replace("/", "-")
        yield f"{name}.few", inputs.plain(f"{index} few", 6, 9, 8, 1), spec, number
        yield f"{name}.plain", inputs.plain(index, 40, 60, 40, 1), spec, (index + 1) % 3
        yield f"{name}.epochs", inputs.plain(f"{index} epochs", 40, 25, 30, 3), spec, (index + 2) % 3
        yield f"{name}.weak", inputs.marked(f"{index} weak", 30, 40, 40, 1, spec, secret, 0.2), spec, number
        yield f"{name}.strong", inputs.marked(f"{index} strong", 40, 30, 60, 2, spec, secret, 0.9), spec, number
        avoided = inputs.marked(f"{index} avoid", 12, 20, 20, 1, spec, secret, 0.6, 2, -1)
        yield f"{name}.avoided", avoided, spec, number
        if spec.scheme == "green":
            yield f"{name}.all", inputs.marked(f"{index} all", 5, 40, 12, 1, spec, secret, 1, 40), spec, number
        if text in LONG:
            yield f"{name}.long", inputs.marked(f"{index} long", 120, 80, 120, 2, spec, secret, 0.95), spec, number
        if spec.width == 1:
            yield f"{name}.ties", inputs.ties(["a", "b", "c", "d"]), spec, number


def agree_with_itself(comparisons):
    """The two ways to an exact lattice tail, and the closed form, on signed coefficients."""
    rng = random.Random("lattice")
    for number in range(30):
        gamma = Fraction(rng.randint(1, 7), 8)
        coefficients = [rng.choice([-40, -7, -1, 1, 2, 5, 31, 127]) for _ in range(rng.randint(2, 25))]
        low, high = sum(min(a, 0) for a in coefficients), sum(max(a, 0) for a in coefficients)
        k = rng.randint(low + 1, high)
        groups = sorted((a, coefficients.count(a)) for a in set(coefficients))
        one, two = exact.convolved(groups, gamma, k - low, high - low), exact.tilted(groups, gamma, k)
        comparisons.add(f"lattice {number}", "oracle: two lattice tails", float(two), one)
        n, k = rng.randint(1, 400), rng.randint(1, 400)
        closed, other = exact.binomial(n, min(k, n), gamma), exact.lattice([3] * n, gamma, 3 * min(k, n))
        comparisons.add(f"binomial {number}", "oracle: binomial and lattice", float(other), closed)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--binary", required=True, type=pathlib.Path)
    arguments.add_argument("--bundle", type=pathlib.Path, help="a demo's bundle, to re-derive the tests of")
    options = arguments.parse_args()
    comparisons, scored = Comparisons(), 0
    agree_with_itself(comparisons)
    with tempfile.TemporaryDirectory() as folder:
        for name, lines, spec, number in cases():
            for statistic in STATISTICS:
                found = score(options.binary, pathlib.Path(folder), name, lines, spec, statistic, number)
                expected = rows.score(lines, spec, statistic, inputs.secret(number), inputs.DEFAULT_EPOCH)
                scored += 1
                if found is None or expected is None:
                    comparisons.add(f"{name} {statistic}", "nothing to score", found is None, expected is None)
                    continue
                expected["key_id"] = key_id(inputs.secret(number))
                if spec.scheme == "green":
                    expected["gamma"] = [spec.threshold, 1 << spec.bits]
                else:
                    del expected["green"]
                compare(comparisons, f"{name} {statistic}", found, expected)
    if options.bundle:
        for name, found, expected in bundle.findings(options.bundle):
            compare(comparisons, name, flat(found), expected)
    print(comparisons.table())
    for line in comparisons.wrong:
        print(line)
    total = sum(comparisons.counts.values())
    print(f"{scored} files scored, {total} comparisons, {len(comparisons.wrong)} disagreements")
    sys.exit(1 if comparisons.wrong else 0)


if __name__ == "__main__":
    main()
