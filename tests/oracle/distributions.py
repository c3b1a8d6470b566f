"""`score --access distributions`: probabilities along an answer, in the suspect's vocabulary, as the teacher's tokens.

The teacher's tokenizer is byte-pair encoding over a few letters, applied here by its definition (Sennrich et al. 2016):
the pair of neighbours that was learned first is joined, the leftmost of equal ones. A suspect's token counts as the
teacher's t where the text so far with it is the tokens so far and t; all other probability is lost, by reason. A
context whose own text comes out otherwise than in the whole answer is not aligned. Probabilities are single precision.
"""

import math
import random

import numpy as np

import inputs
import models
import residual
import rows
import scores
from keyed import Spec

CASES = 60
SPECS = ["green/1/w1/b2/t1", "green/1/w1/b8/t40", "green/1/w2/b2/t1", "gumbel/1/w1", "gumbel/1/w2+2"]
LETTERS = "abcdef"
NO_TEXT = [{"token": "<end>", "bytes": []}, {"token": "\ufffd", "bytes": None}, {"token": "\ufffd", "bytes": [195]}]


def check(program, comparisons, every):
    """Returns the number of files scored."""
    chosen = range(CASES)[::every]
    for number in chosen:
        compared(program, comparisons, number)
    return len(chosen)


def compared(program, comparisons, number):
    rng = random.Random(f"distributions {number}")
    spec, teacher, secret = Spec.parse(rng.choice(SPECS)), Teacher(rng), inputs.secret(number % 3)
    statistic = rng.choice(["argmax", "mass", "residual", "residual", "residual"])
    if spec.scheme == "gumbel" and statistic == "residual":
        statistic = "mass"
    references = [models.Exact(f"{number} {i}", len(teacher.tokens)) for i in range(rng.choice([1, 2]))]
    options, exposure = [], None
    for index, reference in enumerate(references):
        path = program.folder / f"teacher-{index}.gguf"
        reference.write(path, teacher.tokens, teacher.merges)
        options += ["--reference", path] if statistic == "residual" else []
    if statistic != "residual":
        options = ["--statistic", statistic]
    elif rng.random() < 0.5:
        exposure = [line | {"epoch": None} for line in traffic(rng, len(teacher.tokens))]
        options += ["--exposure", program.lines("traffic", exposure)]
    lines = [row(rng, teacher, at, rng.choice([8, 20, 60])) for at in range(rng.randint(2, 14))]
    options += ["--access", "distributions", "--tokenizer", program.folder / "teacher-0.gguf"]
    found = program.score("probabilities", lines, spec, number % 3, *options)
    weights = None if exposure is None else residual.windows_of(exposure, spec.width)
    expected = score(lines, spec, teacher, statistic, references, weights, secret)
    source = f"distributions {number} {spec.text} {statistic}"
    scores.compared(comparisons, source, found, expected, spec, number % 3, f"{statistic} of logprobs: ")


def traffic(rng, vocabulary):
    tokens = lambda least: [rng.randrange(vocabulary) for _ in range(rng.randint(least, 30))]
    return [{"id": at, "prompt_tokens": tokens(0), "response_tokens": tokens(1)} for at in range(40)]


class Teacher:
    """Byte-pair encoding: a control token, letters, and pairs in the order in which they were learned."""

    def __init__(self, rng):
        self.tokens, self.merges = [models.END, *LETTERS], []
        while len(self.tokens) < 20:
            pair = rng.sample(self.tokens[1:], 2) if rng.random() < 0.9 else [rng.choice(LETTERS)] * 2
            if len("".join(pair)) <= 5 and "".join(pair) not in self.tokens:
                self.tokens.append("".join(pair))
                self.merges.append(" ".join(pair))
        self.ranks = {tuple(merge.split()): rank for rank, merge in enumerate(self.merges)}

    def encode(self, text):
        parts = list(text)
        while True:
            pairs = [(self.ranks[pair], at) for at, pair in enumerate(zip(parts, parts[1:])) if pair in self.ranks]
            if not pairs:
                return [self.tokens.index(part) for part in parts]
            at = min(pairs)[1]
            parts[at : at + 2] = [parts[at] + parts[at + 1]]


def row(rng, teacher, number, longest):
    """Some rows name no prompt, some name it as text or tokens; some answers end in a token without text."""
    content = [position(rng, word(rng)) for _ in range(rng.randint(1, longest))]
    if rng.random() < 0.2:
        content.append(position(rng, None))
    line = {"id": number, "logprobs": {"content": content}}
    kind = rng.random()
    if kind < 0.4:
        line["prompt"] = "".join(word(rng) for _ in range(rng.randint(0, 4)))
    elif kind < 0.8:
        line["prompt_tokens"] = [rng.randrange(len(teacher.tokens)) for _ in range(rng.randint(0, 5))]
    if rng.random() < 0.3:
        line["epoch"] = rng.choice(inputs.EPOCHS)
    return line


def word(rng):
    return "".join(rng.choice(LETTERS[: rng.choice([2, 3, 6])]) for _ in range(rng.choice([1, 1, 2, 3])))


def position(rng, chosen):
    """Up to six tokens, one spelling sometimes twice; what is left of 1 was not returned."""
    known = [{"token": word(rng)} for _ in range(rng.randint(1, 5))]
    known += [{"token": "?", "bytes": list(word(rng).encode())}] if rng.random() < 0.5 else []
    known += [rng.choice(NO_TEXT)] if rng.random() < 0.3 else []
    shares = [rng.choice([0.25, rng.random()]) for _ in known]
    total = sum(shares) / rng.choice([1.0, 0.9, 0.3])
    for token, share in zip(known, shares):
        token["logprob"] = math.log(share / total)
    end = {"token": "<end>", "bytes": []} if chosen is None else {"token": chosen}
    return end | {"logprob": -0.5, "top_logprobs": [dict(token) for token in known]}


def spelling(token):
    given = token["bytes"] if token.get("bytes") is not None else None if "\ufffd" in token["token"] else token["token"].encode()
    return bytes(given) if given else None


def text(spelt):
    try:
        return None if spelt is None else spelt.decode()
    except UnicodeDecodeError:
        return None


class Losses:
    """Probability without a token, context by context."""

    REASONS = ("several", "changing", "no_text", "not_returned")

    def __init__(self):
        self.unaligned, self.lost = 0, []

    def report(self):
        totals, n = sorted(sum(one.values()) for one in self.lost), max(1, len(self.lost))
        means = {reason: math.fsum(one[reason] for one in self.lost) / n for reason in self.REASONS}
        rank = lambda percent: max(1, -(-len(totals) * percent // 100)) - 1
        found = {"contexts": self.unaligned + len(totals), "unaligned": self.unaligned, "lost": math.fsum(means.values())}
        found |= {f"by_reason.{reason}": mean for reason, mean in means.items()}
        found["lost_at_10_50_90_percent"] = [totals[rank(p)] if totals else 0.0 for p in (10, 50, 90)]
        return {f"alignment.{name}": value for name, value in found.items()}


def aligned(teacher, before, tokens, top, losses):
    """token -> probability in single precision, ascending; None where the text before comes out otherwise."""
    if teacher.encode(before) != tokens:
        losses.unaligned += 1
        return None
    found, lost = {}, dict.fromkeys(Losses.REASONS, 0.0)
    for token in top:
        here, p = text(spelling(token)), math.exp(token["logprob"])
        after = teacher.encode(before + here) if here else []
        fits = after[: len(tokens)] == tokens and len(after) > len(tokens)
        if not here:
            lost["no_text"] += p
        elif not fits:
            lost["changing"] += p
        elif len(after) > len(tokens) + 1:
            lost["several"] += p
        else:
            found[after[-1]] = found.get(after[-1], 0.0) + p
    lost["not_returned"] = max(0.0, 1 - math.fsum(math.exp(token["logprob"]) for token in top))
    losses.lost.append(lost)
    return {token: float(np.float32(min(1.0, p))) for token, p in sorted(found.items())}


def contexts(teacher, line, losses):
    """The answer's tokens; (tokens before, row) of each aligned position."""
    content = line["logprobs"]["content"]
    known = [spelling(position) for position in content]
    known = known[: known.index(None)] if None in known else known
    answer = b"".join(known).decode()
    tokens, found, at = teacher.encode(answer), [], 0
    ends = {0: 0} | {sum(len(teacher.tokens[t]) for t in tokens[: n + 1]): n + 1 for n in range(len(tokens))}
    for position in content[: len(known) + 1]:
        if at in ends:
            row = aligned(teacher, answer[:at], tokens[: ends[at]], position["top_logprobs"], losses)
            found += [] if row is None else [(ends[at], row)]
        else:
            losses.unaligned += 1
        at += len(spelling(position) or b"")
    return tokens, found


def score(lines, spec, teacher, statistic, references, weights, secret):
    losses, skipped, positions = Losses(), {"short_window": 0, "prompt_window": 0, "repeated": 0, "marked_input": 0}, 0
    tables = {}
    for number, line in enumerate(lines):
        prompt = line.get("prompt_tokens", teacher.encode(line.get("prompt", "")))
        own = {tuple(prompt[i : i + spec.width]) for i in range(len(prompt) - spec.width + 1)}
        tokens, found = contexts(teacher, line, losses)
        b = sum(model.rows((prompt or [0]) + tokens + [0], len(prompt or [0])) for model in references) / len(references)
        table = tables.setdefault(line.get("epoch", inputs.DEFAULT_EPOCH), {})
        for at, row in found:
            positions += 1
            window = tuple(tokens[at - spec.width : at])
            if at < spec.width or window in own:
                skipped["short_window" if at < spec.width else "prompt_window"] += 1
                continue
            after = table.setdefault(window, (number, {}))[1]
            for token, a in shown(row, statistic, b[at]).items():
                after[token] = 1.0 if statistic == "argmax" else after.get(token, 0.0) + a
    found = pooled(tables, spec, statistic, weights, secret)
    if found is None:
        return None
    found |= {"skipped." + name: n for name, n in skipped.items()} | losses.report()
    silent = sum("prompt" not in line and "prompt_tokens" not in line for line in lines)
    found |= {"positions": positions, "rows": len(lines), "refused_rows": 0, "rows_without_prompt": silent}
    return found | {"epochs": sorted(tables), "statistic": statistic}


def shown(row, statistic, b):
    """What a context adds to its window's coefficients."""
    if statistic == "argmax":
        return dict([max(row.items(), key=lambda one: (one[1], -one[0]))]) if row else {}
    if statistic == "mass":
        return row
    b = {token: float(np.float32(b[token])) for token in row}
    return {token: (q - b[token]) / math.sqrt(q + b[token]) for token, q in row.items() if q + b[token] > 0}


def pooled(tables, spec, statistic, weights, secret):
    coefficients, reals, values, firsts = [], [], [], []
    for epoch, table in sorted(tables.items()):
        draws = []
        for window, (first, after) in table.items():
            size = math.sqrt(math.sqrt(math.fsum(a * a for a in after.values()))) or 1.0
            weight = 1 / size if statistic == "residual" else 1.0
            if weights is not None:
                e = weights[window]
                weight *= math.sqrt(e) if spec.width > 1 else e / (e + 20)
            draws += [(window, token, a * weight, first) for token, a in after.items() if a]
        real = np.array([a for _, _, a, _ in draws])
        whole, scaled = (np.ones(len(real), dtype=int), real) if statistic == "argmax" else residual.whole(real)
        for key in spec.keys(secret, epoch):
            coefficients += whole.tolist()
            reals += scaled.tolist()
            values += [spec.draw(key, window, token) for window, token, _, _ in draws]
            firsts += [first for _, _, _, first in draws]
    if not any(coefficients):
        return None
    return rows.summary(coefficients, reals, values, firsts, spec.gamma if spec.scheme == "green" else None)
