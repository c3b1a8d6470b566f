"""The numbers of a plan's tests, from raw material and opened keys."""

import base64
import hashlib
import math
from collections import Counter

import numpy as np
from mpmath import mp, mpf
from scipy.special import log_ndtr, ndtri_exp

from keyed import chacha20_block
import residual
import rows

NEGATIVE = ("control", "innocent", "wrong-key")  # nothing marked under the scored key can be behind a rejection
LABELS = {"test", "suspect", "role", "access"}
READING = 1024  # coefficients of a reading are multiples of 2^-10


def of(test, material, spec, keys):
    """The numbers of a test under its epoch's scheme keys."""
    nothing = skips(dict.fromkeys(("short_window", "prompt_window", "repeated", "marked_input"), 0))
    found = nothing | raw(test, material, spec, keys)
    if spec.scheme == "green":
        return found | {"gamma": [spec.threshold, 1 << spec.bits]}
    del found["green"]
    return found


def raw(test, material, spec, keys):
    contents = (piece["content"] for piece in material if piece["suspect"] == test["suspect"])
    kinds = {"text-residual": "beside"} | dict.fromkeys(("distinct", "root-count"), "text")
    kind = kinds.get(test["statistic"], test["access"])
    content = next(content[kind] for content in contents if kind in content)
    if kind == "text":
        return text(content, spec, keys, test["statistic"])
    if kind == "distributions":
        return distributions(content, spec, keys, test["statistic"])
    return (text_residual if kind == "beside" else reading)(content, spec, keys)


def text(answers, spec, keys, statistic):
    """The prompts of a plan's pool are fresh here, so no window is excluded."""
    seen, skipped, _ = rows.count(lines_of(answers), spec.width, "the plan's", fresh=True)
    counts = [1 if statistic == "distinct" else len(where) for where in seen.values()]
    unit = 1 if statistic == "distinct" else rows.LARGEST / math.sqrt(max(counts, default=1))
    whole = counts if statistic == "distinct" else rows.root_counts(counts)
    pairs = [(draw, a, unit * math.sqrt(n), key) for draw, a, n in zip(seen, whole, counts) for key in keys]
    found = rows.summary(
        [a for _, a, _, _ in pairs],
        [real for _, _, real, _ in pairs],
        [spec.draw(key, window, token) for (_, window, token), _, _, key in pairs],
        [seen[draw][0][0] for draw, _, _, _ in pairs],
        spec.gamma if spec.scheme == "green" else None,
    )
    return found | skips(skipped)


def text_residual(beside, spec, keys):
    """Nb as the material has it: window, as ids with spaces between, -> token -> units of 2^-10."""
    seen, skipped, _ = rows.count(lines_of(beside["answers"]), spec.width, "the plan's", fresh=True)
    expected = {
        tuple(map(int, window.split())): {int(token): units for token, units in after.items()}
        for window, after in beside["expectation"].items()
    }
    weights = exposure(beside)
    found = residual.pooled(seen, lambda _, window: expected[window], spec, {"the plan's": keys[0]}, weights)
    return found | skips(skipped)


def exposure(content):
    """How often windows occur in the plan's traffic, if it names any."""
    listed = content["exposure"]
    return listed and Counter({tuple(map(int, window.split())): count for window, count in listed.items()})


def lines_of(answers):
    return [{"prompt_tokens": answer["prompt"], "response_tokens": answer["response"]} for answer in answers]


def skips(skipped):
    return {"skipped." + name: number for name, number in skipped.items()}


def table(numbers):
    """Probabilities as u16 little-endian multiples of 2^-16, a row a context."""
    found = np.frombuffer(base64.b64decode(numbers["rows"]), dtype="<u2").reshape(-1, numbers["vocabulary"])
    return found.astype(float) / 65536


def contexts(pool_sha256, answers):
    """One an answer that is not empty: cut before token (word i of a keystream mod its length)."""
    seed = hashlib.sha256(b"taggant/1/contexts\0" + bytes.fromhex(pool_sha256)).digest()
    words = [chacha20_block(seed, i // 16)[i % 16] for i in range(len(answers))]
    lengths = [len(answer["response"]) for answer in answers]
    return [[i, word % size] for i, (word, size) in enumerate(zip(words, lengths)) if size]


def distributions(material, spec, keys, statistic):
    """Residual: (q - b) / sqrt(q + b), summed over a window's contexts, over the fourth root of the sum of squares.
    Green mass: q, summed. With the plan's traffic, residuals of a window that occurs e times in it times e / (e + 20), or
    the root of e from width 2 on.
    """
    sums, short = {}, 0
    q = table(material["q"])
    b = table(material["b"]) if statistic == "residual" else None
    weights = exposure(material)
    for number, (answer, position) in enumerate(material["contexts"]):
        answer = material["answers"][answer]
        context = answer["prompt"] + answer["response"]
        at = len(answer["prompt"]) + position
        if at < spec.width:
            short += 1
            continue
        row = q[number]
        if b is not None:
            total = q[number] + b[number]
            row = np.divide(q[number] - b[number], np.sqrt(total), out=np.zeros_like(total), where=total > 0)
        window = tuple(context[at - spec.width : at])
        first, so_far, seen = sums.get(window, (number, 0.0, 0))
        sums[window] = (first, so_far + row, seen + 1)
    pairs, reals, firsts = [], [], []
    for window, (first, row, _) in sums.items():
        if b is not None:
            row = row * (weight(weights, window, spec.width) / half_norm(row))
        tokens = np.flatnonzero(row)
        pairs += [(window, token) for token in tokens.tolist()]
        reals += row[tokens].tolist()
        firsts += [first] * len(tokens)
    whole, scaled = residual.whole(np.array(reals))
    found = rows.summary(whole.tolist(), scaled.tolist(), spec.greens(keys[0], pairs), firsts, spec.gamma)
    return found | skips({"short_window": short})


def half_norm(row):
    """The fourth root of the sum of squares; 1 where there is nothing."""
    return math.sqrt(math.sqrt(math.fsum(row * row))) or 1


def weight(weights, window, width):
    """Of a window that never occurs in the traffic: 0."""
    if weights is None:
        return 1
    e = weights[window]
    return math.sqrt(e) if width > 1 else e / (e + 20)


def reading(material, spec, keys):
    """Answers' windows that were not read before, in prompts neither; no tail: p = min(1, 1 / max E)."""
    rows_at = {(row["document"], row["position"]): row["coefficients"] for row in material["rows"]}
    seen, coefficients, values, firsts = set(), [], [], []
    skipped = {"short_window": 0, "repeated": 0}
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
            coefficients += [a for _, a in row]
            values += spec.greens(keys[0], [(window, token) for token, _ in row])
            firsts += [number] * len(row)
    found = rows.summary(coefficients, coefficients, values, firsts, spec.gamma, READING)
    return found | skips(skipped)


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
    served = lambda test: test["epoch"] == here["epoch"] or here["role"] == "wrong-key"
    students = [j for j, t in enumerate(tests) if t["role"] == "student" and alike(t) and served(t)]
    if here["role"] == "student" or not students:
        return None
    if not reaches(found[i], level):
        return 0.0
    return min(power_beside(found[i], found[student], level) for student in students)


def power_beside(numbers, student, level):
    share = min(1.0, float(numbers["n_eff"] / student["n_eff"]))
    z = -ndtri_exp(float(student["ln_p"])) * math.sqrt(share)
    return math.exp(log_ndtr(z + ndtri_exp(float(level))))


def verdict(tests, found, i, level, adjusted, power):
    """Evidence needs a p that holds after correction, an innocent that could have rejected (at least a quarter as many
    draws) and no negative control that came near; its absence needs power.
    """
    test = tests[i]
    same = ("access", "statistic", "epoch")
    innocent = any(
        t["role"] == "innocent"
        and all(t[name] == test[name] for name in same)
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
