"""`score --access distributions` of rows with "q": next-token distributions by the mark's own token ids.

Whole rows as numbers or as base64, or pairs of id and probability; with --top-k the likeliest, ties to the lowest id.
What is not listed is unknown and gives no draw. A row stands behind its whole context; windows inside its own prompt do
not count.
"""

import base64
import random

import numpy as np

import distributions
import inputs
import models
import residual
import scores
from keyed import Spec

CASES = 36
SPECS = ["green/1/w1/b2/t1", "green/1/w1/b8/t40", "green/1/w2/b2/t1", "gumbel/1/w1", "gumbel/1/w2+2"]
VOCABULARY = 32


def check(program, comparisons, every):
    """Returns the number of files scored."""
    chosen = range(CASES)[::every]
    for number in chosen:
        compared(program, comparisons, number)
    return len(chosen)


def compared(program, comparisons, number):
    rng = random.Random(f"ids {number}")
    spec, secret = Spec.parse(rng.choice(SPECS)), inputs.secret(number % 3)
    statistic = rng.choice(["argmax", "mass", "residual", "residual"])
    if spec.scheme == "gumbel" and statistic == "residual":
        statistic = "argmax"
    model, kind, top = models.Exact(f"ids {number}", VOCABULARY), rng.choice(["whole", "base64", "pairs"]), None
    lines = [row(rng, at) for at in range(rng.randint(5, 60))]
    options = ["--statistic", statistic]
    if statistic == "residual":
        model.write(program.folder / "ids.gguf")
        options = ["--reference", program.folder / "ids.gguf"]
    if kind != "pairs" and rng.random() < 0.4:
        top = rng.choice([1, 5, 20, 40])
        options += ["--top-k", top]
    told = [line | {"q": spelt(line["q"], kind)} for line in lines]
    found = program.score("ids", told, spec, number % 3, "--access", "distributions", *options)
    known = 9 if kind == "pairs" else top
    expected = score(lines, spec, statistic, model, known or VOCABULARY, secret)
    scores.compared(comparisons, f"ids {number} {spec.text}", found, expected, spec, number % 3, f"{statistic} of q: ")


def row(rng, number):
    """Probabilities in single precision, with ties and zeros; windows repeat."""
    weights = np.array([rng.choice([0, 1, rng.random() ** 4]) for _ in range(VOCABULARY)]) + 1e-3
    tokens = lambda least, most: [rng.randrange(6) for _ in range(rng.randint(least, most))]
    line = {"id": number, "prompt_tokens": tokens(0, 3), "response_tokens": tokens(0, 3)}
    line["q"] = (weights / weights.sum()).astype("<f4")
    return line | ({"epoch": rng.choice(inputs.EPOCHS)} if rng.random() < 0.2 else {})


def spelt(q, kind):
    if kind == "base64":
        return base64.b64encode(q.tobytes()).decode()
    return [float(p) for p in q] if kind == "whole" else [[token, float(q[token])] for token in likeliest(q, 9)]


def likeliest(q, most):
    return sorted(range(len(q)), key=lambda token: (-q[token], token))[:most]


def score(lines, spec, statistic, model, known, secret):
    tables, skipped = {}, {"short_window": 0, "prompt_window": 0, "repeated": 0, "marked_input": 0}
    for number, line in enumerate(lines):
        prompt, table = line["prompt_tokens"], tables.setdefault(line.get("epoch", inputs.DEFAULT_EPOCH), {})
        context = prompt + line["response_tokens"]
        own = {tuple(prompt[i : i + spec.width]) for i in range(len(prompt) - spec.width + 1)}
        window = tuple(context[len(context) - spec.width :])
        if len(context) < spec.width or window in own:
            skipped["short_window" if len(context) < spec.width else "prompt_window"] += 1
            continue
        b = model.rows((context or [0]) + [0], len(context or [0]))[0]
        row = {token: float(line["q"][token]) for token in sorted(likeliest(line["q"], known))}
        after = table.setdefault(window, (number, {}))[1]
        for token, a in distributions.shown(row, statistic, b).items():
            after[token] = 1.0 if statistic == "argmax" else after.get(token, 0.0) + a
    found = distributions.pooled(tables, spec, statistic, None, secret)
    if found is None:
        return None
    found |= {"skipped." + name: n for name, n in skipped.items()}
    found |= {"positions": len(lines), "rows": len(lines), "refused_rows": 0, "rows_without_prompt": 0}
    return found | {"epochs": sorted(tables), "statistic": statistic}
