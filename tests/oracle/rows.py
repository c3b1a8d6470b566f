"""From rows to draws and to every number that `score` prints about them."""

import math
from collections import Counter
from fractions import Fraction

from mpmath import mp, mpf
from scipy.special import ndtri

import exact

LARGEST = 127
NORMAL = float(ndtri(0.975))


def count(rows, width, default_epoch, fresh=False):
    """Distinct (epoch, window, token), each with the (row, position) of its occurrences; what was skipped; positions.

    A window has the width tokens before a position, prompt included. Unless the prompts are known to be fresh, windows
    that occur in a row's own prompt do not count (at width 0: its tokens).
    """
    seen, skipped, positions = {}, Counter(short_window=0, prompt_window=0, repeated=0, marked_input=0), 0
    for number, row in enumerate(rows):
        prompt, answer = row.get("prompt_tokens", []), row["response_tokens"]
        context, size = prompt + answer, max(width, 1)
        own = {tuple(prompt[i : i + size]) for i in range(len(prompt) - size + 1)}
        epoch = row.get("epoch", default_epoch)
        for at in range(len(prompt), len(context)):
            positions += 1
            if at < width:
                skipped["short_window"] += 1
                continue
            window = tuple(context[at - width : at])
            if not fresh and (window if width else (context[at],)) in own:
                skipped["prompt_window"] += 1
                continue
            draw = (epoch, window, context[at])
            skipped["repeated"] += draw in seen
            seen.setdefault(draw, []).append((number, at))
    return seen, skipped, positions


def root_counts(counts):
    """sqrt(n) * 127 / max sqrt(n), rounded half to even; in whole numbers, so that a tie is a tie."""
    largest = max(counts, default=1)
    found = {}
    for n in set(counts):
        floor = math.isqrt(LARGEST**2 * n // largest)
        above = 4 * LARGEST**2 * n - (2 * floor + 1) ** 2 * largest
        found[n] = floor + (above > 0 or (above == 0 and floor % 2 == 1))
    return [found[n] for n in counts]


def summary(coefficients, reals, values, firsts, gamma, planned=None):
    """Every number about S = sum a X; gamma None for Exp(1). With a planned largest coefficient the e-process bets by
    that and is the verdict: adaptive evidence.

    `reals`: the coefficients before rounding; one that rounds to nothing is no draw. `firsts`: the exchange of each
    draw's first occurrence, its batch.
    """
    kept = math.fsum(a * r for a, r in zip(coefficients, reals))
    kept /= math.sqrt(sum(a * a for a in coefficients) * math.fsum(r * r for r in reals))
    drawn = [(a, x, first) for a, x, first in zip(coefficients, values, firsts) if a]
    coefficients, values, firsts = zip(*drawn)
    squares = sum(a * a for a in coefficients)
    total = sum(a * x for a, x in zip(coefficients, values))
    mean, variance = (gamma, gamma * (1 - gamma)) if gamma is not None else (Fraction(1), Fraction(1))
    gross = sum(abs(a) for a in coefficients)
    above = total - exact.real(mean * sum(coefficients))
    batches = {}
    for a, x, first in zip(coefficients, values, firsts):
        batches.setdefault(first, []).append((a, x))
    ln_e, ln_e_max = exact.e_process([batches[number] for number in sorted(batches)], gamma, planned)
    ln_p, method = tail(coefficients, total, gamma) if planned is None else (min(mpf(0), -ln_e_max), "e-process")
    rate = exact.real(mean) + above / gross
    return {
        "scored": len(coefficients),
        "sum": total,
        "green": sum(values) if gamma is not None else None,
        "estimate": rate,
        "interval": interval(coefficients, values, firsts, mean, rate),
        "expected": exact.real(mean),
        "z": above / mp.sqrt(exact.real(variance) * squares),
        "n_eff": mpf(squares) ** 2 / sum(a**4 for a in coefficients),
        "largest_share": mpf(max(a * a for a in coefficients)) / squares,
        "share_of_z_kept": kept,
        "ln_p": ln_p,
        "log10_p": ln_p / mp.ln10,
        "ln_p_min": smallest(coefficients, gamma, method),
        "method": method,
        "ln_e": ln_e,
        "ln_e_max": ln_e_max,
    }


def tail(coefficients, total, gamma):
    """The verdict's tail goes by the type of the draws, never by which is smaller; p = 1 needs none."""
    if gamma is None:
        if set(coefficients) == {1}:
            return exact.gamma(len(coefficients), total), "gamma"
        return exact.chernoff(coefficients, total), "chernoff-bound"
    if total <= sum(min(a, 0) for a in coefficients):
        return mpf(0), "certain"
    if len(set(coefficients)) == 1 and coefficients[0] > 0:
        return exact.binomial(len(coefficients), total // coefficients[0], gamma), "binomial"
    return exact.lattice(coefficients, gamma, total), "exact-lattice"


def smallest(coefficients, gamma, method):
    """ln of the probability of the largest possible sum; a Chernoff bound states none."""
    if method in ("chernoff-bound", "e-process"):
        return None
    if method == "gamma":
        return exact.gamma(len(coefficients), 32 * mp.ln2 * len(coefficients))
    up, down = mp.log(exact.real(gamma)), mp.log(exact.real(1 - gamma))
    return sum(up if a > 0 else down for a in coefficients if a)


def interval(coefficients, values, firsts, mean, rate):
    """95 %: the linearised variance of a ratio of totals over exchanges (Cochran, Sampling Techniques, 6.3).

    None where exchanges show no spread: fewer than two, or all alike.
    """
    tops, nets, grosses = Counter(), Counter(), Counter()
    for a, x, first in zip(coefficients, values, firsts):
        tops[first] += a * x
        nets[first] += a
        grosses[first] += abs(a)
    gross, clusters, slope = sum(grosses.values()), len(grosses), rate - exact.real(mean)
    if clusters < 2:
        return [None, None]
    spread = mp.fsum((tops[i] - exact.real(mean) * nets[i] - slope * grosses[i]) ** 2 for i in grosses)
    if not spread:
        return [None, None]
    half = NORMAL * mp.sqrt(spread * clusters / (clusters - 1)) / gross
    return [rate - half, rate + half]


def score(rows, spec, statistic, secret, default_epoch):
    """What `score --json` has to say about these rows under this secret; None without a draw.

    An epoch is a key of its own: its root counts have their own scale, and the epochs' draws pool into one sum.
    """
    seen, skipped, positions = count(rows, spec.width, default_epoch)
    epochs = sorted({row.get("epoch", default_epoch) for row in rows})
    scaled, whole = {}, {}
    for epoch in epochs:
        draws = [draw for draw in seen if draw[0] == epoch]
        counts = [1 if statistic == "distinct" else len(seen[draw]) for draw in draws]
        unit = 1 if statistic == "distinct" else LARGEST / math.sqrt(max(counts, default=1))
        scaled |= {draw: unit * math.sqrt(n) for draw, n in zip(draws, counts)}
        whole |= zip(draws, counts if statistic == "distinct" else root_counts(counts))
    keys = {epoch: spec.keys(secret, epoch) for epoch in epochs}
    pairs = [(draw, key) for draw in seen for key in keys[draw[0]]]
    if not pairs:
        return None
    found = summary(
        [whole[draw] for draw, _ in pairs],
        [scaled[draw] for draw, _ in pairs],
        [spec.draw(key, window, token) for (_, window, token), key in pairs],
        [seen[draw][0][0] for draw, _ in pairs],
        spec.gamma if spec.scheme == "green" else None,
    )
    found |= {"skipped." + name: number for name, number in skipped.items()}
    return found | counted(rows, positions) | {"epochs": epochs, "statistic": statistic}


def counted(rows, positions):
    silent = sum("prompt_tokens" not in row for row in rows)
    return {"positions": positions, "rows": len(rows), "refused_rows": 0, "rows_without_prompt": silent}
