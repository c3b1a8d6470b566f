"""`power`: the exact binomial test by the regularised beta function (Boost's, through scipy), and the lab's curves.

Sources: plan k spends 6 alpha / (pi^2 k^2), shared by its tests; E epochs: each key has a E-th of the effect, all pooled
have the root of E times that. `needed` is the first on a ladder of steps of 1 % (students: 2 %) that has the power.
"""

import itertools
import json
import math
import pathlib
import random

import numpy as np
from scipy.stats import binom, norm

from compare import flat

CASES = 90
CURVES = pathlib.Path(__file__).resolve().parent.parent.parent / "corpora" / "response.json"
LABELS = {"schema", "basis", "unit"}
GREEN = [("green/1/w1/b2/t1", 1 / 4), ("green/1/w1/b1/t1", 1 / 2), ("green/1/w2/b8/t77", 77 / 256)]


def check(program, comparisons, every):
    """Returns the number of questions asked."""
    chosen = range(CASES)[::every]
    curves = json.loads(CURVES.read_text())
    for number in chosen:
        rng = random.Random(f"power {number}")
        [hits, hits, student][number % 3](program, comparisons, number, rng, curves)
    return len(chosen)


def shared(rng, epochs):
    """Options that every question has, as a plan's numbers."""
    plan = {"alpha": rng.choice([1e-6, 1e-5, 1e-3, 0.05]), "number": rng.choice([1, 1, 2, 5]), "tests": rng.choice([1, 4])}
    return plan | {"power": rng.choice([0.5, 0.9, 0.99]), "epochs": epochs}


def level(plan):
    return 6 * plan["alpha"] / (math.pi * plan["number"]) ** 2 / plan["tests"]


def options(plan):
    return [part for name, value in plan.items() for part in (f"--{name}", value)]


def reported(plan):
    epochs = plan["epochs"]
    found = {"alpha": plan["alpha"], "plan_number": plan["number"], "tests": plan["tests"], "epochs": epochs}
    found |= {"level": level(plan), "wanted_power": plan["power"], "needed": None, "at_most": None, "at_budget": None}
    price = [1 / epochs, 1 / math.sqrt(epochs)] if epochs > 1 else None
    return found | {"detectable": None, "price_of_epochs": price}


def compared(program, comparisons, source, command, expected):
    found = flat(program.json("power", command[0], "--json", *command[1:]))
    comparisons.all(source, found, flat(expected), f"power {command[0]}: ")
    comparisons.none_left(source, found, flat(expected), LABELS)


def hits(program, comparisons, number, rng, _):
    """Coins of a green list, or slots of K siblings."""
    slots = number % 3 == 1
    plan = shared(rng, 1 if slots else rng.choice([1, 1, 4]))
    chance = 1 / (siblings := rng.choice([2, 16, 32])) if slots else (green := rng.choice(GREEN))[1]
    effect, budget = rng.choice([0.01, 0.03, 0.1, 0.4]), rng.choice([None, 50, 700, 20_000])
    command = ["slots", "--siblings", siblings, "--excess", effect] if slots else ["coins", "--shift", effect]
    command += [] if slots else ["--spec", green[0]]
    command += options({name: value for name, value in plan.items() if not slots or name != "epochs"})
    command += ["--budget", budget] if budget else []
    epochs, least = plan["epochs"], level(plan)
    needed = first_on_ladder(chance, effect / epochs, least, plan["power"])
    expected = reported(plan) | {"needed": needed and -(-needed // epochs)}
    if budget:
        power = binomial_power(budget * epochs, chance, effect / epochs, least)
        expected["at_budget"] = {"size": budget, "power": power}
        shown = detectable(budget * epochs, chance, least, plan["power"])
        expected["detectable"] = shown and shown * epochs
    compared(program, comparisons, f"power {number}", command, expected)


def critical(draws, chance, least):
    """The fewest hits that reject."""
    low, high = 0, draws + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if binom.sf(middle - 1, draws, chance) <= least else (middle + 1, high)
    return low if low <= draws else None


def binomial_power(draws, chance, effect, least):
    hits = critical(draws, chance, least)
    return 0.0 if hits is None else float(binom.sf(hits - 1, draws, min(1.0, chance + effect)))


def first_on_ladder(chance, effect, least, wanted):
    z = max(0.0, float(norm.isf(least) - norm.isf(wanted)))
    draws = max(1, math.ceil(chance * (1 - chance) * (z / effect) ** 2) // 2)
    while draws <= 1 << 32:
        if binomial_power(draws, chance, effect, least) >= wanted:
            return draws
        draws += max(1, draws // 100)
    return None


def detectable(draws, chance, least, wanted):
    hits = critical(draws, chance, least)
    low, high = 0.0, 1 - chance
    if hits is None:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if binom.sf(hits - 1, draws, min(1.0, chance + middle)) >= wanted else (middle, high)
    return high


def student(program, comparisons, number, rng, curves):
    """Normal arithmetic with the curves: ln z linear in ln share, z linear in ln size."""
    curve = rng.choice(curves)
    plan = shared(rng, rng.choice([1, 1, 4]))
    share = rng.choice([curve["share"], 1.0, 0.5, 0.12, 0.03, 0.002])
    learned = rng.choice([curve["learned"], 2 * curve["learned"]])
    here = lambda share: response(curves, curve, learned, share)
    power = lambda points, size: student_power(points, size, plan)
    points, wanted = here(share), plan["power"]
    sizes = [point[0] for point in points]
    budget = rng.choice([None, rng.randint(sizes[0], sizes[-1]), sizes[-1]])
    name = curve["statistic"].replace(", ", "-").replace("top 20", "top20")
    command = ["student", "--statistic", name, "--share", share, "--learned", learned, "--start", curve["start"]]
    command += ["--width", curve["width"], *options(plan)] + (["--budget", budget] if budget else [])
    ladder = [max(1, sizes[0])]
    while ladder[-1] < sizes[-1]:
        ladder.append(min(sizes[-1], ladder[-1] + max(1, ladder[-1] // 50)))
    expected = reported(plan)
    expected["needed"] = next((size for size in ladder if power(points, size) >= wanted), None)
    if expected["needed"] is None:
        expected["at_most"] = {"size": sizes[-1], "power": power(points, sizes[-1])}
    if budget:
        expected["at_budget"] = {"size": budget, "power": power(points, budget)}
        shares = [1 / 1.02**i for i in range(400)]
        shown = list(itertools.takewhile(lambda share: power(here(share), budget) >= wanted, shares))
        expected["detectable"] = shown[-1] if shown else None
    compared(program, comparisons, f"power {number}", command, expected)


def response(curves, like, learned, share):
    """(size, z, sd) of students that learned no more than was asked, as much as there are; between measured shares."""
    alike = [c for c in curves if all(c[name] == like[name] for name in ("start", "width", "statistic"))]
    most = max(c["learned"] for c in alike if c["learned"] <= learned)
    alike = sorted((c for c in alike if c["learned"] == most), key=lambda c: c["share"])
    above = next((i for i, c in enumerate(alike) if c["share"] >= share), len(alike) - 1)
    low, high = alike[max(0, above - 1)], alike[above]
    lows = {point["size"]: point for point in low["points"]}
    pairs = [(lows[point["size"]], point) for point in high["points"] if point["size"] in lows]
    return [(b["size"], between((low["share"], a["z"]), (high["share"], b["z"]), share), max(a["sd"], b["sd"])) for a, b in pairs]


def between(low, high, share):
    (low_share, low_z), (high_share, high_z) = low, high
    if low_share < share < high_share and low_z > 0 and high_z > 0:
        return float(np.exp(np.interp(math.log(share), np.log([low_share, high_share]), np.log([low_z, high_z]))))
    return low_z * share / low_share if share <= low_share else high_z * share / high_share


def student_power(points, size, plan):
    sizes, z, sd = (np.array(column) for column in zip(*points))
    if not sizes[0] <= size <= sizes[-1]:
        return -1.0
    z, sd = np.interp(math.log(size), np.log(sizes), z), np.interp(math.log(size), np.log(sizes), sd)
    return float(norm.sf((norm.isf(level(plan)) - z / math.sqrt(plan["epochs"])) / sd))
