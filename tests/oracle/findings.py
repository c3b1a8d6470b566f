"""The numbers of a plan's tests, from raw material and opened keys."""

import base64
import hashlib
import math
from collections import Counter

import numpy as np
from mpmath import mp, mpf
from scipy.special import log_ndtr, ndtri_exp

from keyed import Spec, chacha20_block
import residual
import rows
import sums

NEGATIVE = ("control", "innocent", "wrong-key")  # nothing marked under the scored key can be behind a rejection
LABELS = {"test", "suspect", "role", "access"}
READING = 1024  # coefficients of a reading are multiples of 2^-10


def of(test, material, keys, shares=(1,)):
    """The numbers of a test under the keys it lists; `keys(epoch, mark)` gives the scheme keys of a mark."""
    scored = [(Spec.parse(key["mark"]), keys(key["epoch"], key["mark"]), key["weight"]) for key in test["keys"]]
    kinds = {"text-residual": "beside"} | dict.fromkeys(("distinct", "root-count"), "text")
    kind = kinds.get(test["statistic"], test["access"])
    contents = (piece["content"] for piece in material if piece["suspect"] == test["suspect"])
    content = next(content[kind] for content in contents if kind in content)
    laws = {spec.gamma if spec.scheme == "green" else None for spec, _, _ in scored}
    if kind == "reading":
        draws, skipped = reading(content, scored)
        bets = (READING * max(weight for _, _, weight in scored), shares)
    else:
        draws, skipped = key_independent(COUNTED[kind], content, test["statistic"], scored)
        bets = ()
    found = sums.summary(draws, *bets) if any(d.a for d in draws) else sums.without_draws(laws)
    nothing = dict.fromkeys(("short_window", "prompt_window", "repeated", "marked_input"), 0)
    found |= skips(nothing | skipped)
    if "green" in found and len(laws) == 1:
        spec = scored[0][0]
        return found | {"gamma": [spec.threshold, 1 << spec.bits]}
    found.pop("green", None)
    return found


def key_independent(count, content, statistic, scored):
    """Counted for each key's windows, weighted, rounded together, and only then opened."""
    counted, skipped = [], Counter()
    for spec, _, weight in scored:
        found, skips = count(content, spec.width, statistic)
        counted.append([(window, token, size * weight, first) for window, token, size, first in found])
        skipped.update(skips)
    whole, reals = rounded(statistic, [size for found in counted for _, _, size, _ in found])
    rounding, draws = zip(whole, reals), []
    for (spec, keys, _), found in zip(scored, counted):
        together = [next(rounding) for _ in found]
        for key in keys:
            values = opened(spec, key, [(window, token) for window, token, _, _ in found])
            gamma = spec.gamma if spec.scheme == "green" else None
            for (_, _, _, first), (a, real), x in zip(found, together, values):
                draws.append(sums.Draw(int(a), float(real), x, gamma, first))
    return draws, dict(skipped)


def opened(spec, key, pairs):
    if spec.scheme == "green":
        return spec.greens(key, pairs)
    return [spec.draw(key, *pair) for pair in pairs]


def rounded(statistic, sizes):
    """One scale over the weighted sizes of all keys. (The sizes of root counts are roots of whole numbers.)"""
    if statistic in ("distinct", "argmax"):
        return sizes, sizes
    if statistic == "root-count":
        squares = [round(size * size) for size in sizes]
        unit = rows.LARGEST / math.sqrt(max(squares, default=1))
        return rows.root_counts(squares), [unit * math.sqrt(square) for square in squares]
    whole, scaled = residual.whole(np.array(sizes))
    return whole.tolist(), scaled.tolist()


def text(answers, width, statistic):
    """The prompts of a plan's pool are fresh here, so no window is excluded."""
    seen, skipped, _ = rows.count(lines_of(answers), width, "the plan's", fresh=True)
    size = lambda where: 1 if statistic == "distinct" else math.sqrt(len(where))
    return [(window, token, size(where), where[0][0]) for (_, window, token), where in seen.items()], skipped


def text_residual(beside, width, _):
    """Nb as the material has it: window, as ids with spaces between, -> token -> units of 2^-10."""
    seen, skipped, _ = rows.count(lines_of(beside["answers"]), width, "the plan's", fresh=True)
    expected = {
        tuple(map(int, window.split())): {int(token): units for token, units in after.items()}
        for window, after in beside["expectation"].items()
    }
    return list(residual.draws(seen, lambda window: expected[window], width, exposure(beside))), skipped


def exposure(content):
    """How often windows occur in the plan's traffic, if it names any."""
    listed = content["exposure"]
    return listed and Counter({tuple(map(int, window.split())): count for window, count in listed.items()})


def lines_of(answers):
    return [{"prompt_tokens": answer["prompt"], "response_tokens": answer["response"]} for answer in answers]


def skips(skipped):
    return {"skipped." + name: number for name, number in skipped.items()}


def table(numbers):
    """(tokens known of each row, their probabilities): u16 little-endian multiples of 2^-16, every token's; or pairs."""
    if "listed" in numbers:
        pairs = [sorted(map(tuple, row)) for row in numbers["listed"]]
        return [[v for v, _ in row] for row in pairs], [np.array([u for _, u in row]) / 65536 for row in pairs]
    numbers = numbers["whole"]
    found = np.frombuffer(base64.b64decode(numbers["rows"]), dtype="<u2").reshape(-1, numbers["vocabulary"])
    return [range(numbers["vocabulary"])] * len(found), found.astype(float) / 65536


def beside(q, b):
    """q at the tokens that a reference is given for: of those that q does not list, its least."""
    (tokens, q), (wanted, b) = q, b
    if len(wanted) == len(tokens):
        return tokens, q, b
    known = dict(zip(tokens, q))
    return wanted, np.array([known.get(token, min(q)) for token in wanted]), b


def contexts(pool_sha256, answers):
    """One an answer that is not empty: cut before token (word i of a keystream mod its length)."""
    seed = hashlib.sha256(b"taggant/1/contexts\0" + bytes.fromhex(pool_sha256)).digest()
    words = [chacha20_block(seed, i // 16)[i % 16] for i in range(len(answers))]
    lengths = [len(answer["response"]) for answer in answers]
    return [[i, word % size] for i, (word, size) in enumerate(zip(words, lengths)) if size]


def distributions(material, width, statistic):
    """Residual: (q - b) / sqrt(q + b), summed over a window's contexts, over the fourth root of the sum of squares.
    Green mass: q, summed. Argmax: 1 for the likeliest token, the lowest id of several. What is not known of a row is no
    draw; of a list of the likeliest the others are at most as likely as its least. With the plan's traffic, residuals of a window that occurs e times in it times e / (e + 20), or the root of e
    from width 2 on.
    """
    totals, short = {}, 0
    listed = list(zip(*table(material["q"])))
    b = list(zip(*table(material["b"]))) if statistic == "residual" else None
    columns = 1 + max((token for row, _ in b or listed for token in row[-1:]), default=0)
    weights = exposure(material)
    for number, (answer, position) in enumerate(material["contexts"]):
        answer = material["answers"][answer]
        context = answer["prompt"] + answer["response"]
        at = len(answer["prompt"]) + position
        if at < width:
            short += 1
            continue
        tokens, values = listed[number]
        if b is not None:
            tokens, q, expected = beside(listed[number], b[number])
            total = q + expected
            values = np.divide(q - expected, np.sqrt(total), out=np.zeros_like(total), where=total > 0)
        if statistic == "argmax":
            values = np.arange(len(values)) == (np.argmax(values) if len(values) else -1)
        row = np.zeros(columns)
        row[list(tokens)] = values
        window = tuple(context[at - width : at])
        first, so_far = totals.get(window, (number, np.zeros(columns)))
        totals[window] = (first, np.maximum(so_far, row) if statistic == "argmax" else so_far + row)
    found = []
    for window, (first, row) in totals.items():
        if b is not None:
            row = row * (weight(weights, window, width) / half_norm(row))
        found += [(window, token, float(row[token]), first) for token in np.flatnonzero(row).tolist()]
    return found, {"short_window": short}


COUNTED = {"text": text, "beside": text_residual, "distributions": distributions}


def half_norm(row):
    """The fourth root of the sum of squares; 1 where there is nothing."""
    return math.sqrt(math.sqrt(math.fsum(row * row))) or 1


def weight(weights, window, width):
    """Of a window that never occurs in the traffic: 0."""
    if weights is None:
        return 1
    e = weights[window]
    return math.sqrt(e) if width > 1 else e / (e + 20)


def reading(material, scored):
    """Answers' windows that were not read before under their key, in prompts neither. A unit is a window under a key."""
    rows_at = {(row["document"], row["position"]): row["coefficients"] for row in material["rows"]}
    draws, skipped = [], Counter(short_window=0, repeated=0)
    for which, (spec, (key,), weight) in enumerate(scored):
        seen = set()
        for number, document in enumerate(material["documents"]):
            context = document["prompt"] + document["response"]
            first = len(document["prompt"])
            seen |= windows_in(context[:first], spec.width)
            for at in range(first, len(context)):
                window = tuple(context[at - spec.width : at])
                if at < spec.width or window in seen:
                    skipped["short_window" if at < spec.width else "repeated"] += 1
                    continue
                seen.add(window)
                row = rows_at[number, at]
                for (_, a), x in zip(row, spec.greens(key, [(window, token) for token, _ in row])):
                    draws.append(sums.Draw(a * weight, a * weight, x, spec.gamma, number, (which, number, at)))
    return draws, dict(skipped)


def windows_in(prompt, width):
    """The windows before each token of a prompt."""
    return {tuple(prompt[at - width : at]) for at in range(width, len(prompt))}


def judged(plan, found):
    """Holm, power and verdicts (Holm 1979; DESIGN, section 1). `found`: the numbers of each test, in plan order.

    Power: a normal statistic with the positive control's z, scaled to the suspect's effective draws.
    """
    tests = plan["tests"]
    level = mp.log(6 * mpf(plan["alpha"]) / (mp.pi**2 * plan["number"] ** 2))
    family = [i for i, test in enumerate(tests) if test["role"] in ("student", "control", "suspect")]
    adjusted = [numbers["ln_p"] for numbers in found]
    worst = -mp.inf
    for rank, i in enumerate(sorted(family, key=lambda i: found[i]["ln_p"])):
        worst = max(worst, min(mpf(0), found[i]["ln_p"] + mp.log(len(family) - rank)))
        adjusted[i] = worst
    powers = [power(tests, found, i, level - mp.log(max(1, len(family)))) for i in range(len(tests))]
    verdicts = [verdict(tests, found, i, level, adjusted[i], powers[i]) for i in range(len(tests))]
    names = ("verdict_ln_p", "adjusted_ln_p", "power", "verdict")
    lines = [dict(zip(names, line)) for line in zip([n["ln_p"] for n in found], adjusted, powers, verdicts)]
    return lines


def stands_out(tests, found, level):
    """Whether a negative control rejects at the level, or at 0.01 by the number of those that could."""
    controls = [i for i, t in enumerate(tests) if t["role"] in NEGATIVE]
    able = sum(reaches(found[i], math.log(0.01)) for i in controls)
    limit = max(mp.log(mpf("0.01") / max(1, able)), level)
    return any(found[i]["ln_p"] <= limit for i in controls)


def reaches(numbers, ln_p):
    """Whether so small a p was possible; where no smallest p is known it was."""
    return numbers["scored"] > 0 and (numbers["ln_p_min"] is None or numbers["ln_p_min"] <= ln_p)


def power(tests, found, i, level):
    """The least over the students tested in the same way; under a wrong key those of any epoch count."""
    here = tests[i]
    alike = lambda test: all(test[name] == here[name] for name in ("access", "statistic"))
    served = lambda test: listed(test) == listed(here) or here["role"] == "wrong-key"
    students = [j for j, t in enumerate(tests) if t["role"] == "student" and alike(t) and served(t)]
    if here["role"] == "student" or not students:
        return None
    if not reaches(found[i], level):
        return 0.0
    return min(power_beside(found[i], found[student], level) for student in students)


def listed(test):
    """Its keys, in whatever order they are listed."""
    return sorted((key["epoch"], key["mark"], key["weight"]) for key in test["keys"])


def power_beside(numbers, student, level):
    if not student["n_eff"]:
        return 0.0
    share = min(1.0, float(numbers["n_eff"] / student["n_eff"]))
    z = -ndtri_exp(float(student["ln_p"])) * math.sqrt(share)
    return math.exp(log_ndtr(z + ndtri_exp(float(level))))


def verdict(tests, found, i, level, adjusted, power):
    """Evidence needs a p that holds after correction, an innocent that could have rejected (at least a quarter as many
    draws) and no negative control that came near; its absence needs power.
    """
    test = tests[i]
    same = ("access", "statistic")
    innocent = any(
        t["role"] == "innocent"
        and all(t[name] == test[name] for name in same)
        and listed(t) == listed(test)
        and 4 * found[j]["scored"] >= found[i]["scored"]
        and reaches(found[j], math.log(0.01))
        for j, t in enumerate(tests)
    )
    rejected = test["role"] in ("student", "control", "suspect") and adjusted <= level
    if rejected and innocent and not stands_out(tests, found, level):
        return "evidence-found"
    if power is not None and power >= 0.9 and not rejected and found[i]["ln_p"] > level:
        return "no-evidence"
    return "inconclusive"
