"""`calibrate`: rejections of innocent text under throwaway keys."""

import hashlib
import math
import random
import statistics
import struct

import numpy as np
from mpmath import mp
from scipy.stats import beta

import exact
import inputs
import models
import residual
import rows
from compare import flat
from keyed import Spec

SPECS = ["green/1/w1/b2/t1", "gumbel/1/w1", "green/1/w2/b8/t77", "green/1/w0/b1/t1", "gumbel/1/w2+2"]
RUNS = 30
EPOCH = "calibration"
LEVELS = [0.1, 0.01, 0.001, 0.0001]


def check(program, comparisons, every):
    """Returns the number of runs."""
    chosen = range(RUNS)[::every]
    for number in chosen:
        compared(program, comparisons, number)
    return len(chosen)


def compared(program, comparisons, number):
    rng = random.Random(f"calibration {number}")
    spec, statistic = Spec.parse(rng.choice(SPECS)), rng.choice(["distinct", "root-count", "residual"])
    if statistic == "residual" and (spec.scheme == "gumbel" or spec.width == 0):
        statistic = "root-count"
    keys, seed, reference = rng.randint(100, 140), rng.randrange(1 << 40), models.Exact(number, 32)
    texts = [inputs.marked(f"innocent {number} {i}", rng.randint(3, 10), 32, 12, 2, spec, b"", 0) for i in range(2)]
    files = [program.lines(f"innocent-{i}", lines) for i, lines in enumerate(texts)]
    options = ["--statistic", statistic]
    if statistic == "residual":
        path = program.folder / "calibration.gguf"
        reference.write(path)
        options = ["--reference", path]
    found = program.json("calibrate", "--json", "--spec", spec.text, *options, "--keys", keys, "--seed", seed, *files)
    own = [innocent(lines, spec, statistic, reference, keys, seed) for lines in texts]
    source = f"calibration {number} {spec.text}"
    for path, theirs, ours in zip(files, found["innocents"], own):
        ours["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        levels = ours.pop("levels")
        comparisons.all(source, flat(theirs), ours, "calibrate: ")
        for level, numbers in zip(theirs["levels"], levels):
            comparisons.all(source, level, numbers, "calibrate: level: ")
            comparisons.none_left(source, level, numbers, set())
        comparisons.none_left(source, theirs, ours, {"file", "levels"})
    valid = all(line["above"] <= line["above_limit"] and within(line) for line in found["innocents"])
    comparisons.add(source, "calibrate: valid", found["valid"], valid)


def within(line):
    return all(level["rejected"] <= level["limit"] for level in line["levels"])


def innocent(lines, spec, statistic, reference, keys, seed):
    pairs = coefficients(lines, spec, statistic, reference)
    found = [under(pairs, spec, spec.keys(throwaway(seed, number), EPOCH)) for number in range(keys)]
    ln_p, z = [p for p, _ in found], [float(z) for _, z in found]
    p = sorted(float(mp.exp(p)) for p in ln_p)
    return {
        "rows": len(lines),
        "scored": sum(a != 0 for _, a in pairs),
        "keys": keys,
        "levels": [rejections(ln_p, level) for level in LEVELS],
        "above": max(0.0, *((i + 1) / keys - value for i, value in enumerate(p))),
        "below": max(0.0, *(value - i / keys for i, value in enumerate(p))),
        "above_limit": math.sqrt(math.log(1000) / (2 * keys)),
        "least_ln_p": min(ln_p),
        "mean_z": math.fsum(z) / keys,
        "sd_z": statistics.stdev(z),
    }


def throwaway(seed, number):
    words = b"taggant calibration, never for service\0" + struct.pack("<QI", seed, number)
    return hashlib.sha256(words).digest()


def coefficients(lines, spec, statistic, reference):
    """(window, token) with its whole coefficient; a row's epoch plays no part."""
    lines = [{name: value for name, value in line.items() if name != "epoch"} for line in lines]
    seen, _, _ = rows.count(lines, spec.width, EPOCH)
    if statistic == "residual":
        real = residual.expected(lines, seen, [reference])
        units = {window: dict(enumerate(np.floor(nb + 0.5).astype(int).tolist())) for (_, window), nb in real.items()}
        found = list(residual.draws(seen, units.get, spec.width, None))
        whole, _ = residual.whole(np.array([real for _, _, real, _ in found]))
        return [((window, token), a) for (window, token, _, _), a in zip(found, whole.tolist())]
    counts = [len(where) for where in seen.values()]
    whole = rows.root_counts(counts) if statistic == "root-count" else [1] * len(seen)
    return [((window, token), a) for (_, window, token), a in zip(seen, whole)]


def under(pairs, spec, keys):
    """(ln p, z) under the keys of one epoch."""
    pairs = [(pair, a) for pair, a in pairs if a]
    if spec.scheme == "green":
        values, gamma = spec.greens(keys[0], [pair for pair, _ in pairs]), spec.gamma
        mean, variance = exact.real(gamma), exact.real(gamma * (1 - gamma))
    else:
        values, gamma, mean, variance = [spec.draw(key, *pair) for key in keys for pair, _ in pairs], None, 1, 1
    whole = [a for _, a in pairs] * len(keys)
    total = sum(a * x for a, x in zip(whole, values))
    z = (total - mean * sum(whole)) / mp.sqrt(variance * sum(a * a for a in whole))
    return rows.tail(whole, total, gamma)[0], z


def rejections(ln_p, level):
    """Clopper and Pearson 1934 as quantiles of the beta law; the limit leaves one in a thousand beyond it."""
    n, k = len(ln_p), sum(p <= mp.log(level) for p in ln_p)
    low = beta.ppf(0.025, k, n - k + 1) if k else 0.0
    high = beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    limit = next(c for c in range(n + 1) if beyond(n, c, level) <= 0.001)
    interval = [float(low), float(high)]
    return {"level": level, "rejected": k, "rate": k / n, "interval": interval, "limit": limit}


def beyond(n, c, level):
    """P(Bin(n, level) > c)."""
    return math.fsum(math.comb(n, j) * level**j * (1 - level) ** (n - j) for j in range(c + 1, n + 1))
