"""Every number of a sum under several keys: draws a X of Bernoulli and Exp(1) laws side by side.

Sources as in exact.py. Of several gammas the lattice tail is that of the tilted law, convolved coin by coin: all terms
are positive, so nothing cancels. n_eff and shares of variance go by a^2 Var X.
"""

import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from mpmath import mp, mpf
from scipy.optimize import brentq
from scipy.special import ndtri

import exact
import rows


@dataclass(frozen=True)
class Draw:
    """a X in the exchange `first`, `real` its coefficient before rounding; gamma None for Exp(1).

    `unit`: what is remembered or not as a whole, in a sequential test."""

    a: int
    real: float
    x: object
    gamma: Fraction | None
    first: int
    unit: object = None


def summary(draws, planned=None, shares=(1,)):
    """With a planned largest coefficient the e-process is the verdict: adaptive evidence."""
    kept = math.fsum(d.a * d.real for d in draws)
    kept /= math.sqrt(sum(d.a * d.a for d in draws) * math.fsum(d.real * d.real for d in draws))
    draws = [d for d in draws if d.a]
    variances = [d.a**2 * variance(d.gamma) for d in draws]
    spread = mp.fsum(exact.real(v) for v in variances)
    gross, laws = sum(abs(d.a) for d in draws), {d.gamma for d in draws}
    total = sum(d.a * d.x for d in draws)
    above = total - exact.real(sum(d.a * mean(d.gamma) for d in draws))
    expected = exact.real(sum(abs(d.a) * mean(d.gamma) for d in draws) / gross)
    ln_e, ln_e_max = e_process(draws, planned, shares)
    ln_p, method = tail(draws, total) if planned is None else (min(mpf(0), -ln_e_max), "e-process")
    found = {
        "scored": len(draws),
        "sum": total,
        "estimate": expected + above / gross,
        "interval": interval(draws, expected, above / gross),
        "expected": expected,
        "z": above / mp.sqrt(spread),
        "n_eff": spread**2 / mp.fsum(exact.real(v) ** 2 for v in variances),
        "largest_share": exact.real(max(variances)) / spread,
        "share_of_z_kept": kept,
        "ln_p": ln_p,
        "log10_p": ln_p / mp.ln10,
        "ln_p_min": smallest(draws, method),
        "method": method,
        "ln_e": ln_e,
        "ln_e_max": ln_e_max,
    }
    if len(laws) == 1 and None not in laws:
        (gamma,) = laws
        found |= {"green": sum(d.x for d in draws)}
    return found


def without_draws(laws):
    """p = 1 and e = 1; what chance gives is known where there is one law."""
    chance = exact.real(mean(next(iter(laws)))) if len(laws) == 1 else mpf(0)
    found = dict.fromkeys(("scored", "sum", "z", "n_eff", "ln_p", "log10_p", "ln_p_min", "ln_e", "ln_e_max"), 0)
    found |= {"estimate": chance, "interval": [None, None], "expected": chance}
    found |= {"largest_share": 1, "share_of_z_kept": 1, "method": "certain"}
    return found | ({"green": 0} if len(laws) == 1 and None not in laws else {})


def mean(gamma):
    return Fraction(1) if gamma is None else gamma


def variance(gamma):
    return Fraction(1) if gamma is None else gamma * (1 - gamma)


def tail(draws, total):
    """By the type of the draws: one gamma as before, several by convolution, Exp(1) among coins by a bound."""
    laws, coefficients = {d.gamma for d in draws}, [d.a for d in draws]
    if len(laws) == 1:
        return rows.tail(coefficients, total, laws.pop())
    if None in laws:
        return chernoff(draws, total), "chernoff-bound"
    if total <= sum(min(a, 0) for a in coefficients):
        return mpf(0), "certain"
    return lattice([(d.a, d.gamma) for d in draws], total), "exact-lattice"


def smallest(draws, method):
    laws = {d.gamma for d in draws}
    if len(laws) == 1:
        return rows.smallest([d.a for d in draws], laws.pop(), method)
    if method in ("chernoff-bound", "e-process"):
        return None
    return mp.fsum(mp.log(exact.real(d.gamma if d.a > 0 else 1 - d.gamma)) for d in draws)


def lattice(coins, k):
    """ln P(sum a X >= k) for coins (a, gamma)."""
    if k <= sum(a * gamma for a, gamma in coins):
        return mp.log1p(-mp.exp(lattice([(-a, gamma) for a, gamma in coins], 1 - k)))
    highest, lowest = sum(max(a, 0) for a, _ in coins), sum(min(a, 0) for a, _ in coins)
    if k > highest:
        return mp.ninf
    if k == highest:
        return mp.fsum(mp.log(exact.real(gamma if a > 0 else 1 - gamma)) for a, gamma in coins)
    a = np.array([a for a, _ in coins], dtype=float)
    odds = np.array([math.log(gamma / (1 - gamma)) for _, gamma in coins])
    slope = lambda x: float(np.sum(a / (1 + np.exp(np.clip(-(odds + x * a), -700, 700)))))
    top = 1e-3
    while slope(top) < k:
        top *= 2
    x = brentq(lambda x: slope(x) - k, 0.0, top, xtol=1e-15)
    law, cumulant = np.zeros(highest - lowest + 1, dtype=np.longdouble), mpf(0)
    law[0] = 1
    for size, gamma in coins:
        up = exact.real(gamma) * mp.exp(mpf(x) * size)
        whole = 1 - exact.real(gamma) + up
        cumulant += mp.log(whole)
        move, stay = exact.extended(up / whole), exact.extended(1 - up / whole)
        if size < 0:
            move, stay = stay, move
        shifted = law[: len(law) - abs(size)] * move
        law = law * stay
        law[abs(size) :] += shifted
    mass = law[k - lowest :] * np.exp(-np.longdouble(x) * np.arange(highest - k + 1))
    return cumulant - mpf(x) * k + mp.log(mpf(str(np.sum(mass))))


def cost(a, gamma, x):
    """ln E exp(x a X)."""
    if gamma is None:
        return -mp.log(1 - x * a)
    return mp.log1p(exact.real(gamma) * mp.expm1(x * a))


def chernoff(draws, s):
    """min over x of sum ln E exp(x a X) - x s, below the pole of the Exp(1) draws; the slope rises in x."""
    if s <= exact.real(sum(d.a * mean(d.gamma) for d in draws)):
        return mpf(0)
    groups = Counter((d.a, d.gamma) for d in draws)

    def slope(x):
        coins = lambda a, gamma: a / (1 + exact.real((1 - gamma) / gamma) * mp.exp(-x * a))
        return sum(n * (coins(a, gamma) if gamma is not None else a / (1 - x * a)) for (a, gamma), n in groups.items())

    low, high = mpf(0), mpf(1) / max(a for a, gamma in groups if gamma is None)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < s else (low, middle)
    return mp.fsum(n * cost(a, gamma, low) for (a, gamma), n in groups.items()) - low * s


def e_process(draws, planned, shares):
    """(ln E after the last exchange, its maximum), E the average over bets x = 2^-j / a_max and shares e of the products
    of 1 - e + e exp(sum x a X - psi) over units; j from 0, with any Exp(1) draw from 1. A batch is an exchange.
    """
    largest = planned or max(abs(d.a) for d in draws)
    batches = {}
    for d in draws:
        batches.setdefault(d.first, {}).setdefault(d.unit, []).append(d)
    logs = []
    for j in range(1 if any(d.gamma is None for d in draws) else 0, 13):
        x, costs = mpf(2) ** -j / largest, {}
        for law in {(d.a, d.gamma) for d in draws}:
            costs[law] = cost(*law, x)
        paths = {share: [mpf(0)] for share in shares}
        for number in sorted(batches):
            gains = [sum(x * d.a * d.x - costs[d.a, d.gamma] for d in unit) for unit in batches[number].values()]
            for share, path in paths.items():
                share = mpf(share)
                path.append(path[-1] + mp.fsum(g if share == 1 else mp.log1p(share * mp.expm1(g)) for g in gains))
        logs += paths.values()
    averages = [exact.log_mean_exp(column) for column in zip(*logs)]
    return averages[-1], max(averages)


def interval(draws, expected, slope):
    """95 %: the linearised variance of a ratio of totals over exchanges (Cochran, Sampling Techniques, 6.3)."""
    tops, grosses = Counter(), Counter()
    for d in draws:
        tops[d.first] += d.a * d.x - exact.real(d.a * mean(d.gamma))
        grosses[d.first] += abs(d.a)
    clusters, gross = len(grosses), sum(grosses.values())
    spread = mp.fsum((tops[i] - slope * grosses[i]) ** 2 for i in grosses) if clusters > 1 else 0
    if not spread:
        return [None, None]
    half = float(ndtri(0.975)) * mp.sqrt(spread * clusters / (clusters - 1)) / gross
    return [expected + slope - half, expected + slope + half]
