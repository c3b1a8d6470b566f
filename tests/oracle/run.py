#!/usr/bin/env python3
"""Compares the built program with an independent second implementation, number by number.

    python3 tests/oracle/run.py --binary target/release/taggant [--every 6] [--bundle taggant-demo/bundle.json]

Written from the definitions and the papers, with fixed seeds. What the program prints, and where it is derived again:

| command | numbers | here |
|---|---|---|
| score | taggant/score/1: draws, S, estimate, interval, z, tail, e-process, what was skipped | scores, rows, exact |
| score --reference, --exposure | the same, residual coefficients, from token ids | references, residual, models |
| score --access distributions | the same from log-probabilities, what alignment lost; argmax, mass, residual | distributions |
| the same of "q", --top-k | the same by the mark's own token ids | ids |
| score of several files | each suspect's numbers, and whom e-BH picks | screens |
| detect | our own marks: tails, Holm over all that were tried | marks |
| test | every number of a finding under one key or several, Holm, power, verdict, exit code; the statistics of marks | plans, findings, sums |
| calibrate | taggant/calibrate/1: rejections, intervals, limits, distances, z over the keys | calibration |
| power | coins, slots, students: level, needed, power, least effect, price of epochs | planning |
| canary score, canary assign | picks, scores of three kinds, exact tail, e-process; plant and arm numbers | canaries |
| canary score --log-probabilities | what stands out in each slot, ranks of twins, tail, e-process | weighed |
| attribute climb | exposure by canaries, both halves of a route, its control, ratios, outcome | routes |
| demo, case | the findings of a bundle, given with --bundle | bundle |

A field that the program prints and the oracle does not derive is a disagreement too ("numbers left out"), labels
aside. Not derived again: canaries and routes in plans (`canary score` and `attribute climb` take the same road), the
other rungs of a ladder, mixes and tournaments, calibration by canaries, `canary lint`, `detect` for other engines'
marks. Tokenizers are byte-pair encodings of a few letters; real ones are not derived again, nor are real models, nor
phrases that answer a canary in other words. A demo's report (HTML) also shows decoy keys, which no verdict uses.
Commitments and trees are re-derived by tests/check_vectors.py. No command prints a Besag-Clifford p, a confidence
sequence, the path of an e-process, an importance sample or a saddlepoint: those are in the library only, with tests of
their own.

Exit 0 when everything agrees, 1 when something does not; each disagreement names input, field and both values.
"""

import argparse
import pathlib
import random
import sys
import tempfile
from fractions import Fraction

from mpmath import mp

import bundle
import calibration
import canaries
import distributions
import exact
import ids
import marks
import planning
import plans
import references
import routes
import scores
import screens
import sums
import weighed
from compare import Comparisons, Program
from keyed import Spec

PARTS = {
    "files scored": scores,
    "beside references": references,
    "of probabilities": distributions,
    "of probabilities by id": ids,
    "screenings": screens,
    "texts of unknown mark": marks,
    "plans": plans,
    "calibrations": calibration,
    "questions of power": planning,
    "suspects' canaries": canaries,
    "suspects' likelihoods": weighed,
    "routes": routes,
}


def agree_with_itself(comparisons):
    """The two ways to an exact lattice tail, the closed form, and the two ways to a lane."""
    rng = random.Random("lattice")
    for number in range(30):
        gamma = Fraction(rng.randint(1, 7), 8)
        coefficients = [rng.choice([-40, -7, -1, 1, 2, 5, 31, 127]) for _ in range(rng.randint(2, 25))]
        low, high = sum(min(a, 0) for a in coefficients), sum(max(a, 0) for a in coefficients)
        k = rng.randint(low + 1, high)
        groups = sorted((a, coefficients.count(a)) for a in set(coefficients))
        one, two = exact.convolved(groups, gamma, k - low, high - low), exact.tilted(groups, gamma, k)
        comparisons.add(f"lattice {number}", "oracle: two lattice tails", float(two), one)
        coins = [(a, rng.choice([gamma, Fraction(1, 2), Fraction(3, 16)])) for a in coefficients[:12]]
        k = rng.randint(sum(min(a, 0) for a, _ in coins) + 1, sum(max(a, 0) for a, _ in coins))
        comparisons.add(f"coins {number}", "oracle: several gammas", float(sums.lattice(coins, k)), counted_out(coins, k))
        n, k = rng.randint(1, 400), rng.randint(1, 400)
        closed, other = exact.binomial(n, min(k, n), gamma), exact.lattice([3] * n, gamma, 3 * min(k, n))
        comparisons.add(f"binomial {number}", "oracle: binomial and lattice", float(other), closed)
        spec = Spec.parse(rng.choice(["green/1/w1/b1/t1", "green/1/w1/b8/t40", "green/1/w1/b32/t3000000000"]))
        pairs = [((rng.randrange(9),), rng.randrange(1 << 32)) for _ in range(20)]
        lanes = [spec.draw(b"key", *pair) for pair in pairs]
        comparisons.add(f"lanes {number}", "oracle: lanes", spec.greens(b"key", pairs), lanes)


def counted_out(coins, k):
    """ln P(sum a X >= k) for coins (a, gamma), as a fraction."""
    law = {0: Fraction(1)}
    for a, gamma in coins:
        more = {}
        for total, chance in law.items():
            more[total] = more.get(total, 0) + chance * (1 - gamma)
            more[total + a] = more.get(total + a, 0) + chance * gamma
        law = more
    found = exact.real(sum(chance for total, chance in law.items() if total >= k))
    return mp.log(found) if found else mp.ninf


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--binary", required=True, type=pathlib.Path)
    arguments.add_argument("--bundle", type=pathlib.Path, help="a demo's bundle, to re-derive the tests of")
    arguments.add_argument("--every", type=int, default=1, help="only every n-th input of each kind")
    options = arguments.parse_args()
    comparisons, done = Comparisons(), []
    agree_with_itself(comparisons)
    with tempfile.TemporaryDirectory() as folder:
        program = Program(options.binary, folder)
        for name, part in PARTS.items():
            done.append(f"{part.check(program, comparisons, options.every)} {name}")
            print(done[-1], file=sys.stderr, flush=True)
    if options.bundle:
        done.append(f"{bundle.check(options.bundle, comparisons)} findings of {options.bundle}")
    print(comparisons.table())
    for line in comparisons.wrong:
        print(line)
    total = sum(comparisons.counts.values())
    print(f"{', '.join(done)}: {total} comparisons, {len(comparisons.wrong)} disagreements")
    sys.exit(1 if comparisons.wrong else 0)


if __name__ == "__main__":
    main()
