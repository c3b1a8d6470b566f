"""`score` of several files: each suspect's numbers, and whom e-BH picks (Wang and Ramdas 2022): the k with the largest
e, for the largest k at which the k-th largest e is at least m / (0.05 k).
"""

import random

from mpmath import mp, mpf

import inputs
import rows
import scores
from compare import flat
from keyed import Spec

RUNS = 12
LEVEL = mpf("0.05")


def check(program, comparisons, every):
    """Returns the number of screenings."""
    chosen = range(RUNS)[::every]
    for number in chosen:
        screened(program, comparisons, number)
    return len(chosen)


def screened(program, comparisons, number):
    rng = random.Random(f"screen {number}")
    spec, statistic = Spec.parse(rng.choice(["green/1/w1/b2/t1", "gumbel/1/w1", "green/1/w2/b8/t77"])), "distinct"
    secret = inputs.secret(number % 3)
    shares = [rng.choice([0, 0, 0.15, 0.3, 0.9]) for _ in range(rng.randint(2, 7))]
    suspect = lambda at, share: inputs.marked(f"screen {number} {at}", 8, 40, 40, 1, spec, secret, share)
    lines = [suspect(at, share) for at, share in enumerate(shares)]
    files = [program.lines(f"suspect-{at}", one) for at, one in enumerate(lines)]
    key = ["--key", program.key(number % 3), "--epoch", inputs.DEFAULT_EPOCH, "--spec", spec.text]
    found = program.json("score", "--json", *key, "--statistic", statistic, *files)
    expected = [rows.score(one, spec, statistic, secret, inputs.DEFAULT_EPOCH) for one in lines]
    picked = e_bh([one["ln_e"] for one in expected])
    source = f"screen {number} {spec.text}"
    comparisons.add(source, "screen: false_discovery_rate", found["false_discovery_rate"], LEVEL)
    comparisons.add(source, "screen: suspects", [one["file"] for one in found["suspects"]], [str(file) for file in files])
    for theirs, ours, closer in zip(found["suspects"], expected, picked):
        comparisons.add(source, "screen: look_closer", theirs["look_closer"], closer)
        scores.compared(comparisons, source, flat(theirs["score"]), ours, spec, number % 3, "screen: ")


def e_bh(ln_e):
    falling = sorted(ln_e, reverse=True)
    enough = [k for k in range(1, len(ln_e) + 1) if falling[k - 1] >= mp.log(len(ln_e) / (LEVEL * k))]
    return [bool(enough) and e >= falling[enough[-1] - 1] for e in ln_e]
