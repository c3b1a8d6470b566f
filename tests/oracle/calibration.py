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
from compare import OUTWARD, flat
from keyed import Spec

SPECS = ["green/1/w1/b2/t1", "gumbel/1/w1", "green/1/w2/b8/t77", "green/1/w0/b1/t1", "gumbel/1/w2+2"]
RUNS = 30
EPOCH = "calibration"
LEVELS = [0.1, 0.01, 0.001, 0.0001]
FILES = 2
CELLS = FILES * (len(LEVELS) + 1) + len(LEVELS)  # levels and a distance for each file; levels for both together


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
    texts = [inputs.marked(f"innocent {number} {i}", rng.randint(3, 10), 32, 12, 2, spec, b"", 0) for i in range(FILES)]
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
        numbers = {name: value for name, value in ours.items() if name not in ("rejections", "attainable")}
        comparisons.all(source, flat(theirs), numbers, "calibrate: ")
        compared_levels(comparisons, source, theirs["levels"], levels, "level")
        comparisons.none_left(source, theirs, numbers, {"name", "file", "released", "levels", "anytime", "real"})
    any_of_them = together([line["rejections"] for line in own], [line["attainable"] for line in own], keys)
    compared_levels(comparisons, source, found["together"]["any"], any_of_them, "any")
    comparisons.add(source, "calibrate: cells", found["cells"], CELLS)
    valid = all(line["above"] <= line["above_limit"] and within(line["levels"]) for line in found["innocents"])
    valid = valid and within(found["together"]["any"])
    comparisons.add(source, "calibrate: valid", found["valid"], valid)


def compared_levels(comparisons, source, theirs, ours, what):
    for level, numbers in zip(theirs, ours):
        attained = {"attainable": numbers.pop("attainable")}
        comparisons.all(source, level, numbers, f"calibrate: {what}: ")
        comparisons.all(source, level, attained, f"calibrate: {what}: ", relative=OUTWARD)
        comparisons.none_left(source, level, numbers | attained, set())


def within(levels):
    return all(level["rejected"] <= level["limit"] for level in levels)


def together(rejections, attainable, keys):
    """Keys under which either file is rejected, against the sum of what the two attain."""
    found = []
    for at, level in enumerate(LEVELS):
        hits = sum(any(under) for under in zip(*(of_file[at] for of_file in rejections)))
        found.append(of_level(hits, keys, level, min(1.0, sum(of_file[at] for of_file in attainable))))
    return found


def innocent(lines, spec, statistic, reference, keys, seed):
    pairs = coefficients(lines, spec, statistic, reference)
    found = [under(pairs, spec, spec.keys(throwaway(seed, number), EPOCH)) for number in range(keys)]
    ln_p, z = [p for p, _ in found], [float(z) for _, z in found]
    p = sorted(float(mp.exp(p)) for p in ln_p)
    attained = [attainable([a for _, a in pairs if a] * len(spec.keys(b"", EPOCH)), spec, level) for level in LEVELS]
    rejected = [[p <= mp.log(level) for p in ln_p] for level in LEVELS]
    return {
        "rejections": rejected,
        "attainable": attained,
        "rows": len(lines),
        "scored": sum(a != 0 for _, a in pairs),
        "keys": keys,
        "levels": [of_level(sum(hits), keys, *at) for hits, at in zip(rejected, zip(LEVELS, attained))],
        "above": max(0.0, *((i + 1) / keys - value for i, value in enumerate(p))),
        "below": max(0.0, *(value - i / keys for i, value in enumerate(p))),
        "above_limit": math.sqrt(math.log(1000 * CELLS) / (2 * keys)),
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


def attainable(whole, spec, level):
    """The largest tail at or below the level; where sums do not come in steps, the level."""
    if spec.scheme == "gumbel":
        return level
    low, high = sum(min(a, 0) for a in whole), sum(max(a, 0) for a in whole) + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if stepped(whole, middle, spec) <= mp.log(level) else (middle + 1, high)
    return float(mp.exp(stepped(whole, low, spec)))


def stepped(whole, total, spec):
    """ln P(S >= total), for any total."""
    if total > sum(max(a, 0) for a in whole):
        return -mp.inf
    if len(set(whole)) == 1 and whole[0] > 0:
        return exact.binomial(len(whole), -(-total // whole[0]), spec.gamma) if total > 0 else mp.mpf(0)
    return rows.tail(whole, total, spec.gamma)[0]


def of_level(k, n, level, attained):
    """Clopper and Pearson 1934 as quantiles of the beta law; the limit leaves one in a thousand beyond it, in all cells."""
    low = beta.ppf(0.025, k, n - k + 1) if k else 0.0
    high = beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    limit = next(c for c in range(n + 1) if beyond(n, c, attained) <= 0.001 / CELLS)
    interval = [float(low), float(high)]
    numbers = {"level": level, "rejected": k, "rate": k / n, "interval": interval, "limit": limit}
    return numbers | {"attainable": attained}


def beyond(n, c, level):
    """P(Bin(n, level) > c)."""
    return math.fsum(math.comb(n, j) * level**j * (1 - level) ** (n - j) for j in range(c + 1, n + 1))
