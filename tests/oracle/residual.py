"""Text beside a reference: for a window w and a token v, a = log(1 + e) (n - Nb) / (1 + 0.03 Nb).

n: how often the suspect wrote v after w; Nb: the reference's probabilities of v at those contexts, summed, rounded to
multiples of 2^-10, halves away from zero; e: how often w occurs in unmarked answers (without any, the factor is 1).
At width 0 and 1 over the whole vocabulary, at wider windows over the pairs that the suspect wrote.
"""

import math
from collections import Counter
from fractions import Fraction

import numpy as np

import rows

UNITS = 1024
QUANTILE = Fraction(999, 1000)
SHRINK = 0.03


def windows_of(lines, width):
    """How often each window stands before a token of an answer."""
    found = Counter()
    for line in lines:
        prompt = line.get("prompt_tokens", [])
        context = prompt + line["response_tokens"]
        found.update(tuple(context[at - width : at]) for at in range(max(len(prompt), width), len(context)))
    return found


def expected(lines, seen, models):
    """(epoch, window) -> Nb of every token in units of 2^-10 before rounding; b is the mean of several models."""
    sums, laws = {}, {}
    for (epoch, window, _), where in seen.items():
        for number, at in where:
            prompt, answer = lines[number].get("prompt_tokens", []), lines[number]["response_tokens"]
            if number not in laws:
                context = (prompt or [0]) + answer  # token 0 ends texts
                laws[number] = sum(model.rows(context, len(context) - len(answer)) for model in models) / len(models)
            row = laws[number][at - len(prompt)]
            sums[epoch, window] = sums.get((epoch, window), 0) + row
    return {at: nb * UNITS for at, nb in sums.items()}


def nearest_half(units):
    """How far, relatively, the Nb lies from a half that is nearest to one."""
    return min((np.min(np.abs(nb / (np.floor(nb) + 0.5) - 1)) for nb in units.values()), default=1.0)


def whole(reals):
    """127 over the 99.9 % quantile (nearest rank) of the sizes that are not 0, rounded half to even, clipped.

    What lies within 1e-9 of a half is one. Returns the whole numbers and the scaled reals.
    """
    if not np.all(np.isfinite(reals)):
        raise ValueError("the oracle made a coefficient that is no number")
    sizes = np.sort(np.abs(reals[reals != 0]))
    if not len(sizes):
        return np.zeros(len(reals), dtype=int), reals
    scaled = reals * (rows.LARGEST / sizes[math.ceil(QUANTILE * len(sizes)) - 1])
    halves = np.floor(scaled) + 0.5
    near = np.abs(scaled - halves) <= 1e-9
    rounded = np.where(near, 2 * np.rint(halves / 2), np.rint(scaled))
    return np.clip(rounded, -rows.LARGEST, rows.LARGEST).astype(int), scaled


def draws(seen, units, width, exposure):
    """(window, token, real coefficient, row) of one epoch's draws.

    A draw belongs to the row of its first occurrence; one that never occurred, to the first row with its window.
    """
    counts, firsts = {}, {}
    for (_, window, token), where in seen.items():
        counts.setdefault(window, {})[token] = len(where)
        firsts[window, token] = where[0][0]
        firsts.setdefault(window, where[0][0])
    for window, after in counts.items():
        weight = 1.0 if exposure is None else math.log1p(exposure[window])
        expected = units(window)
        tokens = sorted(after) if width > 1 else sorted(set(after) | set(expected))
        for token in tokens:
            nb = expected.get(token, 0) / UNITS
            real = weight * (after.get(token, 0) - nb) / (1 + SHRINK * nb)
            yield window, token, real, firsts.get((window, token), firsts[window])


def pooled(seen, units, spec, keys, exposure=None):
    """Every number of the pooled sum; epoch -> scheme key, each epoch with a scale of its own. None without a draw.

    `units(epoch, window)`: Nb by token, in units of 2^-10; zeros may be left out.
    """
    coefficients, reals, values, firsts = [], [], [], []
    for epoch, key in keys.items():
        own = {draw: where for draw, where in seen.items() if draw[0] == epoch}
        found = list(draws(own, lambda window: units(epoch, window), spec.width, exposure))
        rounded, scaled = whole(np.array([real for _, _, real, _ in found]))
        coefficients += rounded.tolist()
        reals += scaled.tolist()
        values += spec.greens(key, [(window, token) for window, token, _, _ in found])
        firsts += [first for _, _, _, first in found]
    if not any(coefficients):
        return None
    return rows.summary(coefficients, reals, values, firsts, spec.gamma)


def score(*arguments):
    """What `score --reference` has to say about these rows."""
    return score_near(*arguments)[0]


def score_near(lines, spec, models, exposure_lines, secret, default_epoch):
    """The same, and how near Nb comes to being rounded the other way."""
    seen, skipped, positions = rows.count(lines, spec.width, default_epoch)
    real = expected(lines, seen, models)
    units = {at: dict(enumerate(np.floor(nb + 0.5).astype(int).tolist())) for at, nb in real.items()}
    epochs = sorted({line.get("epoch", default_epoch) for line in lines})
    keys = {epoch: spec.keys(secret, epoch)[0] for epoch in epochs}
    exposure = None if exposure_lines is None else windows_of(exposure_lines, spec.width)
    found = pooled(seen, lambda *at: units[at], spec, keys, exposure)
    if found is not None:
        found |= {"skipped." + name: number for name, number in skipped.items()}
        found |= rows.counted(lines, positions) | {"epochs": epochs, "statistic": "residual"}
    return found, nearest_half(real)
