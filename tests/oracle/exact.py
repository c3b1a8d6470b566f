"""Exact tails, a Chernoff bound and e-processes, in 60 digits.

Sources: Feller, An Introduction to Probability Theory I, VI.2 (binomial) and II, I.3 (Gamma tail as a Poisson sum);
Esscher 1932 and Daniels 1954 (exponential tilting); Abate and Whitt 1992 (the inverted transform as a trapezoidal sum,
and its wrap-around error); Chernoff 1952; Ville 1939 and Howard, Ramdas et al. 2020 (mixtures of exponential
supermartingales).
"""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
from mpmath import mp, mpc, mpf
from scipy.optimize import brentq

mp.dps = 60
CUT = 85.0  # neglected terms are below e^-85, about 1e-37


def real(fraction):
    fraction = Fraction(fraction)
    return mpf(fraction.numerator) / fraction.denominator


def binomial(n, k, gamma):
    """ln P(Bin(n, gamma) >= k): whole numbers over a common denominator, all terms positive."""
    up, down = gamma.numerator, gamma.denominator - gamma.numerator
    term = math.comb(n, k) * up**k * down ** (n - k)
    total = 0
    for j in range(k, n + 1):
        total += term
        term = term * (n - j) * up // ((j + 1) * down)
    return mp.log(mpf(total)) - n * mp.log(gamma.denominator)


def gamma(n, s):
    """ln P(Gamma(n, 1) >= s) = ln sum_{j<n} e^-s s^j / j!."""
    term, total = mpf(1), mpf(0)
    for j in range(n):
        total += term
        term = term * s / (j + 1)
    return mp.log(total) - s


def lattice(coefficients, gamma, k):
    """ln P(sum a X >= k) for whole a and X ~ Bernoulli(gamma)."""
    groups = sorted((a, count) for a, count in Counter(coefficients).items() if a)
    lowest = sum(min(a, 0) * c for a, c in groups)
    highest = sum(max(a, 0) * c for a, c in groups)
    if k <= lowest:
        return mpf(0)
    if k > highest:
        return mp.ninf
    n = sum(c for _, c in groups)
    if n * (highest - lowest) <= 200_000:
        return convolved(groups, gamma, k - lowest, highest - lowest)
    return tilted(groups, gamma, k)


def convolved(groups, gamma, k, span):
    """All probabilities times denominator^n, as big whole numbers; k counts from the lowest value."""
    up, down = gamma.numerator, gamma.denominator - gamma.numerator
    law, n = np.zeros(span + 1, dtype=object), 0
    law[0] = 1
    for a, count in groups:
        stay, move = (down, up) if a > 0 else (up, down)
        for _ in range(count):
            shifted = law[: span + 1 - abs(a)] * move
            law = law * stay
            law[abs(a) :] += shifted
            n += 1
    return mp.log(mpf(int(law[k:].sum()))) - n * mp.log(gamma.denominator)


def tilted(groups, gamma, k):
    """Exponential tilting to mean k, then the transform inverted by a trapezoidal sum of N frequencies.

    The neglected frequencies are below e^-CUT, and N is such that the tilted mass further than N/2 from k is too.
    """
    mean = gamma * sum(a * c for a, c in groups)
    if k <= mean:
        below = tilted([(-a, c) for a, c in groups], gamma, 1 - k)
        return mp.log1p(-mp.exp(below))
    a = np.array([a for a, _ in groups], dtype=float)
    c = np.array([c for _, c in groups], dtype=float)
    g = float(gamma)

    def cumulant(x):
        return float(np.sum(c * np.logaddexp(math.log1p(-g), math.log(g) + x * a)))

    def chance(x):
        return 1 / (1 + (1 - g) / g * np.exp(np.clip(-x * a, -700, 700)))

    def slope(x):
        return float(np.sum(c * a * chance(x)))

    if k == sum(max(a, 0) * c for a, c in groups):
        return sum(c * mp.log(real(gamma if a > 0 else 1 - gamma)) for a, c in groups)
    top = 1e-3
    while slope(top) < k:
        top *= 2
    tilt = brentq(lambda x: slope(x) - k, 0.0, top, xtol=1e-15)
    p = chance(tilt)
    deviation = math.sqrt(float(np.sum(c * a * a * p * (1 - p))))

    def outside(half):
        """Chernoff bounds of both tails of the tilted law, as one logarithm."""
        steps = np.geomspace(1e-2, 1e2, 60) / deviation
        return max(
            min(cumulant(tilt + sign * s) - cumulant(tilt) - s * (sign * k + half) for s in steps) for sign in (1, -1)
        )

    half = math.ceil(6 * deviation)
    span = int(np.sum(np.abs(a) * c))
    while half <= span and outside(half) > -CUT:
        half = math.ceil(half * 1.2)
    size = 2 * half + 1
    if size > 1 << 27:
        raise ValueError(f"the oracle would need {size} frequencies for {groups[:3]}...: no such coefficients are planned")
    stay, move = real(1 - gamma), [real(gamma) * mp.exp(mpf(tilt) * v) for v, _ in groups]
    shift = sum(n * mp.log(stay + up) for (_, n), up in zip(groups, move)) - mpf(tilt) * k
    chances = [extended(up / (stay + up)) for up in move]
    mass = tail_mass(groups, chances, loud_frequencies(a, c, p, size), size, k, tilt, half)
    return shift + mp.log(mpf(str(mass)))


def extended(number):
    return np.longdouble(mp.nstr(number, 25))


def loud_frequencies(a, c, p, size):
    """The m <= size / 2 where the tilted law's transform is above e^-CUT in absolute value."""
    m = np.arange(size // 2 + 1)
    loudness = np.zeros(len(m))
    for v, count, chance in zip(a, c, p):
        square = np.sin(np.pi * ((int(v) * m) % size) / size) ** 2
        with np.errstate(divide="ignore"):
            loudness += 0.5 * count * np.log1p(-np.minimum(4 * chance * (1 - chance) * square, 1.0))
    return m[loudness > -CUT]


def tail_mass(groups, chances, m, size, k, tilt, half):
    """sum_{j=0}^{half} e^{-tilt j} P(S = k + j) under the tilted law, from its transform at 2 pi m / size.

    In extended precision where the machine has it; phases are reduced as whole numbers first.
    """
    turn = 2 * np.longdouble("3.14159265358979323846264338327950288") / size
    value = np.exp(-1j * turn * (m * (k % size) % size).astype(np.longdouble))
    for (v, count), chance in zip(groups, chances):
        unit = np.exp(1j * turn * (v * m % size).astype(np.longdouble))
        value = value * np.exp(count * np.log((1 - chance) + chance * unit))
    step = np.exp(-np.longdouble(tilt) - 1j * turn * m.astype(np.longdouble))
    flat = step == 1
    weight = np.where(flat, half + 1, (1 - step ** (half + 1)) / np.where(flat, 1, 1 - step))
    return np.sum((value * weight).real * np.where(m == 0, 1, 2)) / size


def chernoff(coefficients, s):
    """min over 0 <= x < 1/a_max of -sum ln(1 - x a) - x s, for sums of a * Exp(1) with a >= 0."""
    groups = Counter(a for a in coefficients if a)
    if s <= sum(a * c for a, c in groups.items()):
        return mpf(0)
    low, high = mpf(0), mpf(1) / max(groups)
    for _ in range(200):
        middle = (low + high) / 2
        if sum(c * a / (1 - middle * a) for a, c in groups.items()) < s:
            low = middle
        else:
            high = middle
    return -sum(c * mp.log(1 - low * a) for a, c in groups.items()) - low * s


def e_process(batches, gamma, planned=None):
    """(ln E after the last batch, its maximum; E = 1 before the first), for batches of (a, X).

    E averages prod exp(x a X - psi(x a)) over x = 2^-j / a_max, j = 0..12, a_max as planned or as it is; psi is that
    of Bernoulli(gamma), or with gamma None that of Exp(1), where j = 1..12 because psi needs x a < 1.
    """
    largest = planned or max(abs(a) for batch in batches for a, _ in batch)
    gains = [sum(a * value for a, value in batch) for batch in batches]
    spent = [Counter(a for a, _ in batch) for batch in batches]
    logs = []
    for j in range(0 if gamma is not None else 1, 13):
        x, cost = mpf(2) ** -j / largest, {}
        for a in set().union(*spent):
            cost[a] = mp.log(1 + real(gamma) * mp.expm1(x * a)) if gamma is not None else -mp.log(1 - x * a)
        path = [mpf(0)]
        for gain, counts in zip(gains, spent):
            path.append(path[-1] + x * gain - mp.fsum(n * cost[a] for a, n in counts.items()))
        logs.append(path)
    averages = [log_mean_exp(column) for column in zip(*logs)]
    return averages[-1], max(averages)


def choices(slots, k):
    """ln P(sum f(J) >= k), J uniform on each slot's siblings; f whole: all ways counted, as big whole numbers."""
    ways = {0: 1}
    for scores in slots:
        more = Counter()
        for f, n in Counter(scores).items():
            for total, count in ways.items():
                more[total + f] += n * count
        ways = more
    found = sum(count for total, count in ways.items() if total >= k)
    return mp.log(mpf(found)) - mp.log(mpf(sum(ways.values()))) if found else mp.ninf


def e_process_of_choices(slots, values, names):
    """(ln E after the last slot, its maximum), a slot a batch; psi(x) = ln (1/K) sum e^(x f), a_max the largest |f|."""
    ends = [0] + [at + 1 for at in range(len(names)) if names[at + 1 : at + 2] != names[at : at + 1]]
    largest, logs = max(1, *(abs(f) for scores in slots for f in scores)), []
    for j in range(13):
        x, path = mpf(2) ** -j / largest, [mpf(0)]
        for scores, value in zip(slots, values):
            path.append(path[-1] + x * value - log_mean_exp([x * f for f in scores]))
        logs.append([path[end] for end in ends])
    averages = [log_mean_exp(column) for column in zip(*logs)]
    return averages[-1], max(averages)


def log_mean_exp(values):
    top = max(values)
    return top + mp.log(mp.fsum(mp.exp(v - top) for v in values) / len(values))
