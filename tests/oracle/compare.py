"""Runs the program and holds its numbers against the oracle's."""

import json
import math
import pathlib
import subprocess
import sys

from mpmath import mpf

import inputs

RELATIVE = 1e-9
OUTWARD = 1e-6  # how far a tail that is rounded outward may lie above the exact one, in ln p
ROUNDING = 1e-15  # how far, relatively, it may lie below: the unit roundoff of the double that is printed


class Comparisons:
    """Counts comparisons by number, and keeps the largest difference and every disagreement."""

    def __init__(self):
        self.counts, self.largest, self.apart, self.wrong = {}, {}, {}, []

    def add(self, source, field, found, expected, outward=False, relative=RELATIVE):
        """Whole numbers, names and lists of them must be equal; real numbers must be close."""
        name = field + (" (outward)" if outward else "")
        self.counts[name] = self.counts.get(name, 0) + 1
        if expected is None or isinstance(expected, (str, int, list)) or found is None:
            difference = 0.0 if found == expected else math.inf
            agrees = found == expected
        else:
            gap = mpf(found) - mpf(expected)
            difference = float(abs(gap) / max(1, abs(expected)))
            agrees = difference <= relative
            if outward and relative == RELATIVE:
                agrees = -ROUNDING * max(1, abs(expected)) <= gap <= OUTWARD
        if agrees:
            self.largest[name] = max(self.largest.get(name, 0.0), difference)
        else:
            self.apart[name] = self.apart.get(name, 0) + 1
            shown = expected if expected is None or isinstance(expected, (str, int, list)) else float(expected)
            self.wrong.append(f"{source}: {field}: the program has {found!r}, the oracle {shown!r}")

    def all(self, source, found, expected, prefix="", relative=RELATIVE):
        """Every number that the oracle expects, by its dotted name."""
        for name, value in expected.items():
            if name not in found:
                self.add(source, prefix + name, "nothing", "a value")
            elif name.split(".")[-1] == "interval":
                for end, at in {"low": 0, "high": 1}.items():
                    ends = found[name] or [None, None]
                    self.add(source, f"{prefix}{name}, {end}", ends[at], value[at], relative=relative)
            elif isinstance(value, list) and any(isinstance(one, (float, mpf)) for one in value):
                self.add(source, f"{prefix}{name}, length", len(found[name]), len(value))
                for at, (theirs, ours) in enumerate(zip(found[name], value)):
                    self.add(source, f"{prefix}{name}, {at}", theirs, ours, relative=relative)
            else:
                outward = name in ("ln_p", "log10_p") and expected.get("method") == "exact-lattice"
                self.add(source, prefix + name, found[name], value, outward, relative)

    def none_left(self, source, found, expected, labels):
        """Whatever the program prints is a number that was compared, or a label."""
        left = sorted(set(found) - set(expected) - labels)
        self.add(source, "numbers left out", left, [])

    def table(self):
        lines = [f"{'number':<40} {'comparisons':>11} {'disagree':>9} {'largest difference of the others':>33}"]
        for name in sorted(self.counts):
            largest = f"{self.largest.get(name, 0.0):.2g}"
            lines.append(f"{name:<40} {self.counts[name]:>11} {self.apart.get(name, 0):>9} {largest:>33}")
        return "\n".join(lines)


def flat(document):
    """Nested objects under dotted names."""
    found = {}
    for name, value in document.items():
        found |= {f"{name}.{k}": v for k, v in flat(value).items()} if isinstance(value, dict) else {name: value}
    return found


class Program:
    """The built program, with a folder for the files that it reads."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, pathlib.Path(folder)

    def run(self, *arguments, codes=(0,)):
        """(exit code, standard output, standard error); ends the comparison at any other exit code."""
        command = [str(part) for part in (self.binary, *arguments)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode not in codes:
            sys.exit(f"{' '.join(command)} ended with {result.returncode}: {result.stderr}")
        return result.returncode, result.stdout, result.stderr

    def json(self, *arguments):
        return json.loads(self.run(*arguments)[1])

    def score(self, name, lines, spec, number, *options):
        """What `score --json` prints, flat; None where it says that nothing is left to score."""
        command = ["score", "--json", "--key", self.key(number), "--epoch", inputs.DEFAULT_EPOCH, "--spec", spec.text]
        code, printed, said = self.run(*command, *options, self.lines(name, lines), codes=(0, 2))
        if code == 2 and "no draw is left to score" not in said:
            sys.exit(f"{name}: {said}")
        return flat(json.loads(printed)) if code == 0 else None

    def key(self, number):
        path = self.folder / f"key-{number}.json"
        if not path.exists():
            secret = inputs.secret(number).hex()
            document = {"format": "taggant-key/1", "created": "2026-01-01T00:00:00Z", "secret": secret}
            path.write_text(json.dumps(document))
            path.chmod(0o600)
        return path

    def lines(self, name, lines):
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    def document(self, name, document):
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(document))
        return path
