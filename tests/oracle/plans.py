"""`test`: random sealed plans over random material of every access."""

import base64
import hashlib
import json
import random
import struct

import numpy as np

import findings
import inputs
import models
import residual
import rows
from compare import flat
from keyed import Spec, key_id

SPECS = [
    "green/1/w1/b2/t1",
    "green/1/w2/b1/t1",
    "green/1/w1/b8/t40",
    "gumbel/1/w1",
    "green/1/w3/b16/t9000",
    "green/1/w0/b2/t1",
    "gumbel/1/w2+2",
]
PLANS = 60
EPOCHS = ["served", "never-served", "served-too", "never-served-too"]
WEIGHTS = [(1, 1), (1, 2), (3, 2), (1, 5)]
STATISTICS = {
    "text": ["distinct", "root-count", "text-residual"],
    "distributions": ["residual", "residual", "green-mass", "argmax"],
    "reading": ["reading-mass"],
}
SUSPECTS = {"student": ("student", 0.9), "control": ("control", 0), "model": ("suspect", 0.3), "base": ("innocent", 0)}
CODES = {"evidence-found": 0, "no-evidence": 1, "inconclusive": 3}


def check(program, comparisons, every):
    """Returns the number of plans."""
    chosen = range(PLANS)[::every]
    for number in chosen:
        compared(program, comparisons, number)
    return len(chosen)


def compared(program, comparisons, number):
    rng = random.Random(f"plan {number}")
    spec, secret = Spec.parse(rng.choice(SPECS)), inputs.secret(number % 3)
    material = Material(rng, spec, spec.keys(secret, EPOCHS[0]))
    genesis, sealed = program.folder / "genesis.json", program.folder / "sealed.json"
    epochs = [part for epoch in EPOCHS for part in ("--epoch", epoch)]
    key = ["--key", program.key(number % 3)]
    tokenizer = program.document("tokenizer", {})
    genesis.unlink(missing_ok=True)
    sealed.unlink(missing_ok=True)
    specs = [part for mark in SPECS for part in ("--spec", mark)]
    program.run("key", "genesis", *key, "--tokenizer", tokenizer, *epochs, *specs, "--out", genesis)
    version = program.run("plan", "version")[1].split()[1]
    plan = material.plan(key_id(secret), version, json.loads(genesis.read_text()))
    program.run("plan", "seal", program.document("plan", plan), "--genesis", genesis, "--out", sealed)
    given = program.document("material", {"material": material.pieces})
    command = ["test", "--json", *key, "--genesis", genesis, "--material", given, sealed]
    code, printed, _ = program.run(*command, codes=(0, 1, 3))
    result = json.loads(printed)
    keys = lambda epoch, mark: Spec.parse(mark).keys(secret, epoch)
    expected = [findings.of(test, material.pieces, keys, plan["shares"]) for test in plan["tests"]]
    judged = findings.judged(plan, expected)
    primary = judged[0]["verdict"]
    for test, found, own, verdict in zip(plan["tests"], result["findings"], expected, judged):
        source = f"plan {number} {spec.text} {test['name']}"
        comparisons.all(source, flat(found), own, f"{test['statistic']}: ")
        comparisons.all(source, found, verdict, "finding: ")
        comparisons.none_left(source, flat(found), own | verdict, findings.LABELS)
    comparisons.add(f"plan {number}", "finding: primary", result["verdict"], primary)
    comparisons.add(f"plan {number}", "finding: exit code", code, CODES[primary])


class Material:
    """Answers, distributions and readings of all suspects to one pool of prompts, and the tests of them."""

    def __init__(self, rng, spec, keys):
        self.rng, self.spec, self.keys = rng, spec, keys
        self.vocabulary = rng.choice([24, 48, 80])
        self.prompts = [self.tokens(rng.randint(1, 5)) for _ in range(rng.randint(8, 30))]
        self.documents = self.answers([self.tokens(rng.randint(1, 5)) for _ in range(6)], 0.8)
        accesses = list(STATISTICS) if spec.scheme == "green" else ["text"]
        if spec.width == 0 and "reading" in accesses:
            accesses.remove("reading")
        self.statistics = {access: rng.choice(STATISTICS[access]) for access in accesses}
        if spec.scheme == "gumbel":
            self.statistics["text"] = rng.choice(STATISTICS["text"][:2])
        self.pools = {access: self.pool(access, statistic) for access, statistic in self.statistics.items()}
        self.likeliest = rng.choice([None, None, 1, 5, 20])
        self.rule = "whole" if self.likeliest is None else {rng.choice(["top", "known"]): self.likeliest}
        self.shares = rng.choice([[1.0], [1.0, 0.1, 0.01], [0.3, 0.02]])
        self.exposure = self.traffic() if rng.random() < 0.5 else None
        self.pieces = []
        for suspect, (_, share) in SUSPECTS.items():
            answers = self.answers(self.prompts, share)
            for access, statistic in self.statistics.items():
                content = getattr(self, access)(answers, statistic, share)
                self.pieces.append({"suspect": suspect, "content": content})

    def pool(self, access, statistic):
        """(mark, weight, whether of the second epoch) of each key: half the time one, else two epochs or two marks."""
        first = (self.spec.text, 1, False)
        if self.rng.random() < 0.5:
            return [first]
        weights = self.rng.choice(WEIGHTS)
        if self.rng.random() < 0.4:
            return [(self.spec.text, weights[0], False), (self.spec.text, weights[1], True)]
        signed, reading = statistic in ("residual", "text-residual"), access == "reading"
        fits = lambda spec: spec.scheme == "green" or not (signed or reading)
        others = [Spec.parse(mark) for mark in SPECS if mark != self.spec.text]
        others = [spec.text for spec in others if fits(spec) and (spec.width or not reading)]
        return [(self.spec.text, weights[0], False), (self.rng.choice(others), weights[1], False)]

    def widths(self, accesses):
        return sorted({Spec.parse(mark).width for access in accesses for mark, _, _ in self.pools[access]})

    def tokens(self, size):
        return [self.rng.randrange(self.vocabulary) for _ in range(size)]

    def answers(self, prompts, share):
        answer = lambda prompt: inputs.answer(
            self.rng, prompt, self.vocabulary, self.rng.randint(0, 30), self.spec, self.keys, share
        )
        return [{"prompt": prompt, "response": answer(prompt)} for prompt in prompts]

    def traffic(self):
        """How often windows occur in unmarked answers to the same prompts."""
        lines, found = findings.lines_of(self.answers(self.prompts * 3, 0)), {}
        for width in self.widths(self.pools):
            counts = residual.windows_of(lines, width)
            found |= {" ".join(map(str, window)): count for window, count in counts.items()}
        return found

    def text(self, answers, statistic, _):
        if statistic != "text-residual":
            return {"text": answers}
        lines = findings.lines_of(answers)
        reference, expectation = models.Exact(self.rng.random(), self.vocabulary), {}
        for width in self.widths(["text"]):
            seen, _, _ = rows.count(lines, width, "", fresh=True)
            pairs = {(window, token) for _, window, token in seen}
            for (_, window), nb in residual.expected(lines, seen, [reference]).items():
                units = enumerate(np.floor(nb + 0.5).astype(int).tolist())
                after = {str(v): n for v, n in units if n and (width < 2 or (window, v) in pairs)}
                expectation[" ".join(map(str, window))] = after
        return {"beside": {"answers": answers, "expectation": expectation, "exposure": self.exposure}}

    def distributions(self, answers, statistic, share):
        contexts = findings.contexts(self.pool_sha256(), answers)
        q, b = [], []
        for number, position in contexts:
            context = answers[number]["prompt"] + answers[number]["response"][:position]
            weights = [self.rng.random() ** 6 for _ in range(self.vocabulary)]
            b.append(stored(weights))
            q.append(stored([w * self.tilt(context, v, share) for v, w in enumerate(weights)]))
        kept = [sorted(range(self.vocabulary), key=lambda v: -row[v])[: self.likeliest] for row in q]
        table = lambda rows: {"whole": {"rows": packed(rows), "vocabulary": self.vocabulary}}
        if self.likeliest is not None:
            beside = [tokens + self.likelier(p, r, tokens) for p, r, tokens in zip(q, b, kept)]
            table = lambda rows: {
                "listed": [[[v, row[v]] for v in tokens] for row, tokens in zip(rows, beside if rows is b else kept)]
            }
        content = {"answers": answers, "contexts": contexts, "q": table(q)}
        content |= {"b": table(b) if statistic == "residual" else None, "exposure": self.exposure}
        return {"distributions": content}

    def likelier(self, q, b, tokens):
        """The other tokens that b holds for likelier than the least of the likeliest."""
        least = min((q[v] for v in tokens), default=65536)
        return [v for v in range(self.vocabulary) if "top" in self.rule and v not in tokens and b[v] > least]

    def tilt(self, context, token, share):
        """What a suspect adds to a probability: noise, nothing at all at some tokens, and more where the mark is."""
        if len(context) < self.spec.width or self.rng.random() < 0.1:
            return 1
        window = tuple(context[len(context) - self.spec.width :])
        return (self.rng.random() < 0.95) * (self.rng.random() + share * self.spec.draw(self.keys[0], window, token))

    def reading(self, _, statistic, share):
        """A row at every position, whether it is due or not."""
        read = []
        for number, document in enumerate(self.documents):
            context = document["prompt"] + document["response"]
            for at in range(1, len(context)):
                tilts = [self.tilt(context[:at], v, share) for v in range(self.vocabulary)]
                read.append(self.reading_row(number, at, [self.rng.random() ** 6 * tilt for tilt in tilts]))
        return {"reading": {"documents": self.documents, "rows": read}}

    def reading_row(self, number, at, weights):
        units = ((token, int(w / (sum(weights) + 1e-9) * findings.READING)) for token, w in enumerate(weights))
        coefficients = [[token, a] for token, a in units if a]
        return {"document": number, "position": at, "coefficients": coefficients, "row_sha256": "00" * 32}

    def pool_sha256(self):
        return tokens_sha256(self.prompts)

    def plan(self, key, version, genesis):
        tests = [
            self.test(suspect, role, access, EPOCHS[0::2])
            for suspect, (role, _) in SUSPECTS.items()
            for access in self.statistics
            if self.rng.random() < 0.9 or (suspect, access) == ("student", "text")
        ]
        for access in {test["access"] for test in tests if test["role"] == "student"} - {"reading"}:
            tests.append(self.test("student", "wrong-key", access, EPOCHS[1::2]))
        absent = {"value": None, "reason": "made at random"}
        documents = tokens_sha256([d[part] for d in self.documents for part in ("prompt", "response")])
        pool = {"prompts": len(self.prompts), "sha256": self.pool_sha256(), "provenance": "fresh", "beacon": absent}
        pool |= {"answer_tokens": 30, "contexts": {"value": "one-an-answer"}, "documents": {"value": documents}}
        pool |= {"rows": {"value": self.rule}}
        words = ("hypothesis", "order", "stopping", "refusals", "missing_rows", "effect")
        return {name: "made at random" for name in words} | {
            "format": "taggant-plan/1",
            "number": self.rng.choice([1, 1, 2]),
            "key_id": key,
            "genesis_root": genesis["root"],
            "tokenizer_sha256": genesis["tokenizer_sha256"],
            "tests": tests,
            "pool": pool,
            "statistic_sha256": version,
            "first_served": [{"epoch": epoch, "time": absent} for epoch in EPOCHS],
            "sources": [
                {"name": "b", "sha256": "00" * 32, "created": absent, "independent": "own-work", "keys": []}
            ],
            "reference": {"value": "b"},
            "exposure": absent if self.exposure is None else {"value": "b"},
            "canaries": absent,
            "matchers": absent,
            "exclusions": [],
            "lambda_grid": list(range(13)),
            "shares": self.shares,
            "alpha": self.rng.choice([1e-6, 0.01, 0.3]),
            "correction": "holm",
            "futility": absent,
            "power": absent,
        }

    def test(self, suspect, role, access, epochs):
        keys = [{"epoch": epochs[second], "mark": mark, "weight": n} for mark, n, second in self.pools[access]]
        found = {"name": f"{suspect}, {role}, {access}", "suspect": suspect, "role": role, "access": access}
        return found | {"statistic": self.statistics[access], "keys": keys, "sources": ["b"]}


def tokens_sha256(lists):
    return hashlib.sha256(b"".join(struct.pack(f"<{1 + len(part)}I", len(part), *part) for part in lists)).hexdigest()


def stored(weights):
    total = sum(weights) or 1
    return [min(int(w / total * 65536), 65535) for w in weights]


def packed(rows):
    return base64.b64encode(np.array(rows, dtype="<u2").tobytes()).decode()
