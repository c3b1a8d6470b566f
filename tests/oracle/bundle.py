"""The registered tests of a demo's bundle, from its raw answers, distributions and opened keys."""

import base64
import json
import math

import numpy as np

import rows
from keyed import Spec

QUANTILE = 0.999


def findings(path):
    """(test, the bundle's finding, the oracle's numbers) for every registered test of text or distributions."""
    document = json.loads(path.read_text())
    spec = Spec.parse(document["plan"]["spec"])
    keys = {opening["epoch"]: bytes.fromhex(opening["key"]) for opening in document["openings"]}
    material = {(m["suspect"], access): c for m in document["material"] for access, c in m["content"].items()}
    statistics = {"root-count": root_count, "residual": residual}
    found = {finding["test"]: finding for finding in document["analysis"]["findings"]}
    for test in document["plan"]["tests"]:
        if test["statistic"] in statistics:
            content = material[test["suspect"], test["access"]]
            yield test["name"], found[test["name"]], statistics[test["statistic"]](content, spec, keys[test["epoch"]])


def root_count(answers, spec, key):
    """The prompts of a plan's pool are fresh, so no window is excluded."""
    lines = [{"prompt_tokens": a["prompt"], "response_tokens": a["response"]} for a in answers]
    seen, skipped, _ = rows.count(lines, spec.width, "demo", fresh=True)
    counts = [len(where) for where in seen.values()]
    unit = rows.LARGEST / math.sqrt(max(counts))
    values = [spec.draw(key, window, token) for _, window, token in seen]
    firsts = [where[0] for where in seen.values()]
    found = rows.summary(rows.root_counts(counts), [unit * math.sqrt(n) for n in counts], values, firsts, spec.gamma)
    return found | {"skipped." + name: number for name, number in skipped.items()}


def probabilities(table):
    """u16 little-endian multiples of 2^-16, a row a context."""
    numbers = np.frombuffer(base64.b64decode(table["rows"]), dtype="<u2").reshape(-1, table["vocabulary"])
    return numbers.astype(float) / 65536


def residuals(distributions, width):
    """window -> (its first context, real coefficients by token).

    Sums over the window's contexts of (q - b) / sqrt(q + b), divided by the fourth root of their sum of squares.
    """
    sums = {}
    q, b = probabilities(distributions["q"]), probabilities(distributions["b"])
    for number, (answer, position) in enumerate(distributions["contexts"]):
        answer = distributions["answers"][answer]
        context = answer["prompt"] + answer["response"]
        at = len(answer["prompt"]) + position
        total = q[number] + b[number]
        row = np.divide(q[number] - b[number], np.sqrt(total), out=np.zeros_like(total), where=total > 0)
        window = tuple(context[at - width : at])
        first, so_far = sums.get(window, (number, 0.0))
        sums[window] = (first, so_far + row)
    return {
        window: (first, row / math.sqrt(math.sqrt(math.fsum(row * row))))
        for window, (first, row) in sums.items()
        if np.any(row)
    }


def residual(distributions, spec, key):
    """Coefficients scaled by 127 over the 99.9 % quantile (nearest rank) of those that are not 0, rounded, clipped."""
    found = residuals(distributions, spec.width)
    sizes = np.sort(np.abs(np.concatenate([row[row != 0] for _, row in found.values()])))
    unit = rows.LARGEST / sizes[math.ceil(QUANTILE * len(sizes)) - 1]
    coefficients, reals, values, firsts = [], [], [], []
    for window, (first, row) in found.items():
        whole = np.clip(np.rint(row * unit), -rows.LARGEST, rows.LARGEST).astype(int)
        for token in np.flatnonzero(row):
            coefficients.append(int(whole[token]))
            reals.append(float(row[token]))
            values.append(spec.draw(key, window, int(token)))
            firsts.append(first)
    return rows.summary(coefficients, reals, values, firsts, spec.gamma)
