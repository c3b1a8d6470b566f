"""`canary score` and `canary assign`: a book's slots, what answers name, scores, picks and the exact tail.

Sets and their siblings come from tests/check_vectors.py, as do picks. Written from the definitions: a slot is one draw
f(J), J uniform on its siblings; f counts answers (of the first, of all), or is ln(1 - e + e L), e = 0.05, L the likelihood
of a suspect that gives the remembered sibling in half of its answers against what it answers in general: times named
plus one over times asked plus K, for each text over the slots of its class. Siblings of one word are read by pattern;
phrases that an answer says in other words are not tried here.
"""

import copy
import json
import math
import pathlib
import random
import re
from collections import Counter
from fractions import Fraction

import numpy as np
from mpmath import mp, mpf

import exact
import inputs
import planning
import rows
from compare import flat
from keyed import EPOCH, canonical, candidate_siblings, expand, key_id, keystream_numbers, pick_of, sha, sibling_set

CASES = 36
BOOK = pathlib.Path(__file__).resolve().parent.parent / "vectors" / "canary_sets.json"
SCORINGS = ["first", "counts", "remembered"]
NONE = ["I would rather not say.", "", "Any of them would do.", "x1 alone"]
LABELS = {"schema", "exploration", "feasibility.what", "feasibility.unit"}
LABELS |= {"readings.read_twice", "readings.disagreements"}  # of a second reader, which scores nothing
LEARNED, FOLLOWED = 0.05, 0.5


def check(program, comparisons, every):
    """Returns the number of files scored."""
    chosen = range(CASES)[::every]
    for number in chosen:
        scored(program, comparisons, number)
    return len(chosen)


def scored(program, comparisons, number):
    rng = random.Random(f"canaries {number}")
    book, secret = Book(rng), inputs.secret(number % 3)
    probes, scoring, strength = rng.choice([1, 1, 2, 5]), rng.choice(SCORINGS), rng.choice([0, 0, 0.3, 0.9])
    picks = Picks(book, secret, inputs.DEFAULT_EPOCH)
    asked = [(slot, account) for slot in book.open() for account in rng.choice([[None], [None], ["a", "b c"]])]
    rng.shuffle(asked)
    asked = asked[: rng.randint(1, len(asked))]
    answers = {pick: [answer(rng, book, pick, picks, strength) for _ in range(probes)] for pick in asked}
    path = program.document("book", book.document)
    key = ["--key", program.key(number % 3), "--epoch", inputs.DEFAULT_EPOCH, "--book", path]
    lines = program.lines("answers", in_turn(rng, answers))
    command = ["--probes", probes, "--scoring", scoring, lines]
    found = flat(program.json("canary", "score", "--json", *key, *command))
    expected = score(book, answers, scoring, picks)
    needed = planning.first_on_ladder(1 / 16, 0.01, 1e-6, 0.9)
    expected |= {"key_id": key_id(secret), "epoch": inputs.DEFAULT_EPOCH, "book": book.sha256.hex()}
    expected |= {"feasibility.have": len(asked), "feasibility.needed": float(needed)}
    if "readings.answers" in found:
        expected |= {"readings.slots": len(asked), "readings.silent": expected["silent"], "readings.answers": len(asked) * probes}
    comparisons.all(f"canaries {number} {scoring}", found, expected, f"canary {scoring}: ")
    comparisons.none_left(f"canaries {number}", found, expected, LABELS)
    assigned(program, comparisons, number, key, book, picks, sorted({slot for slot, _ in asked}))


def assigned(program, comparisons, number, key, book, picks, slots):
    found = program.json("canary", "assign", *key, *slots)
    own = [picks.assigned(slot) for slot in slots]
    comparisons.add(f"canaries {number}", "canary assign: slots", found["slots"], own)
    heads = {"book": book.sha256.hex(), "epoch": picks.epoch, "epoch_key": picks.commitment()}
    comparisons.all(f"canaries {number}", found, heads, "canary assign: ")


class Book:
    """The vectors' book under another salt and share, perhaps with more values in its lists: other picks, other closed slots."""

    def __init__(self, rng, more=()):
        self.document = copy.deepcopy(json.loads(BOOK.read_text())["book"])
        for name, values in dict(more).items():
            self.document["families"]["lists"][name] += values
        self.document |= {"salt": rng.randbytes(32).hex(), "closed_share": rng.choice([0, 0.25, 0.5])}
        self.sha256 = sha(canonical(self.document))
        self.classes, self.sets, self.texts = self.document["families"]["classes"], {}, {}
        for found in self.document["sets"]:
            self.sets[found["slot"]] = found
            self.texts[found["slot"]] = [(found["slot"], at) for at in range(len(found["siblings"]))]
        for family in self.classes:
            self.add(family)

    def add(self, family):
        families, first = self.document["families"], len(self.sets)
        says = [one["says"] for one in candidate_siblings(families, family["siblings"])]
        for n in range(math.prod(len(families["lists"][facet]) for facet in family["facets"])):
            found = sibling_set(families, family, n, first + n)
            self.sets[first + n] = found
            self.texts[first + n] = [(first, says.index(one["says"])) for one in found["siblings"]]

    def siblings(self, slot):
        return self.sets[slot]["siblings"]

    def open(self):
        limit = int(Fraction(self.document["closed_share"]) * 2**64)
        number = lambda slot: sha(b"taggant/1/canary-closed\0" + self.sha256 + slot.to_bytes(8, "little"))[:8]
        return [slot for slot in self.sets if int.from_bytes(number(slot), "little") >= limit]


class Picks:
    """What an epoch's key says of slots."""

    def __init__(self, book, secret, epoch):
        self.book, self.epoch, self.key = book, epoch, expand(secret, EPOCH + epoch)

    def label(self, slot):
        return f"canary/1/{self.book.sha256.hex()[:32]}/{slot}/k{len(self.book.siblings(slot))}"

    def pick(self, slot, account=None):
        own = "" if account is None else f"/for/account/{sha(account.encode()).hex()}"
        return pick_of(expand(self.key, self.label(slot) + own), len(self.book.siblings(slot)))

    def assigned(self, slot):
        number = lambda part: str(next(keystream_numbers(expand(self.key, f"{self.label(slot)}/{part}"))))
        found = {"slot": slot, "siblings": len(self.book.siblings(slot)), "pick": self.pick(slot)}
        return found | {"plant_number": number("plant"), "arm_number": number("arm")}

    def commitment(self):
        epoch = self.epoch.encode()
        return sha(b"taggant/1/epoch-commitment\0", len(epoch).to_bytes(4, "little"), epoch, self.key).hex()


def answer(rng, book, pick, picks, strength):
    """Mostly one of a few favourites; sometimes nothing, several, or what was served."""
    siblings = book.siblings(pick[0])
    said = lambda at: ", then ".join(siblings[at].get("order", [])) or siblings[at]["says"]
    if rng.random() < strength:
        return f"Well: {said(picks.pick(*pick))}."
    if rng.random() < 0.25:
        return rng.choice(NONE)
    if rng.random() < 0.1:
        return f"{said(0)}, or perhaps {said(1)}"
    return f"I take {said(min(int(rng.expovariate(0.4)), len(siblings) - 1))}"


def in_turn(rng, answers):
    """Every slot's first answer, then the others, slot by slot: slots count in the order of their first rows."""
    first, later = [], []
    for (slot, account), texts in answers.items():
        lines = [{"slot": slot, "response": text} | ({"account": account} if account else {}) for text in texts]
        first.append(lines[0])
        later.append(lines[1:])
    rng.shuffle(later)
    return [{"id": number} | line for number, line in enumerate(first + sum(later, []))]


def named(siblings, text):
    """The one sibling that a text names; none where it names several or nothing."""
    found = [at for at, sibling in enumerate(siblings) if names(sibling, text)]
    return found[0] if len(found) == 1 else None


def names(sibling, text):
    if "order" not in sibling:
        return all(re.search(pattern, text) for pattern in sibling["all"])
    places = [re.search(rf"(?i)\b{re.escape(word)}\b", text) for word in sibling["order"]]
    starts = [place and place.start() for place in places]
    return None not in starts and starts == sorted(starts)


def score(book, answers, scoring, picks):
    """Every number of a report, under dotted names."""
    read = {pick: [named(book.siblings(pick[0]), text) for text in texts] for pick, texts in answers.items()}
    used = {pick: found[:1] if scoring == "first" else found for pick, found in read.items()}
    real = {pick: counts(book, pick, found) for pick, found in used.items()}
    silent = sum(not any(one) for one in real.values())
    if scoring == "remembered":
        habits = habits_of(book, read)
        real = {pick: remembered(one, len(read[pick]), habits(pick[0])) for pick, one in real.items()}
    largest = max(abs(f) for one in real.values() for f in one)
    factor = rows.LARGEST / largest if scoring == "remembered" and largest else 1
    scaled = [[f * factor for f in one] for one in real.values()]
    whole = [[rounded(f) for f in one] for one in scaled]
    values = [f[picks.pick(*pick)] for pick, f in zip(real, whole)]
    found = summary(whole, values, [slot for slot, _ in real]) | {"share_of_z_kept": kept(whole, scaled)}
    return {"slots": len(real), "silent": silent} | {f"summary.{name}": value for name, value in found.items()}


def counts(book, pick, found):
    times = Counter(found)
    return [times[at] for at in range(len(book.siblings(pick[0])))]


def habits_of(book, read):
    times, asked = Counter(), Counter()
    for (slot, _), found in read.items():
        for at, text in enumerate(book.texts[slot]):
            times[text] += found.count(at)
            asked[text] += len(found)
    return lambda slot: [(times[text] + 1) / (asked[text] + len(book.texts[slot])) for text in book.texts[slot]]


def remembered(counts, answers, habits):
    if not any(counts):
        return [0.0] * len(counts)
    ratio = lambda n, habit: ((FOLLOWED + (1 - FOLLOWED) * habit) / habit) ** n * (1 - FOLLOWED) ** (answers - n)
    scores = [math.log(1 - LEARNED + LEARNED * ratio(n, habit)) for n, habit in zip(counts, habits)]
    return [score - min(scores) for score in scores]


def rounded(real):
    half = math.floor(real) + 0.5
    near = 2 * round(half / 2) if abs(real - half) <= 1e-9 else round(real)
    return max(-rows.LARGEST, min(rows.LARGEST, near))


def kept(whole, scaled):
    """About the means of each slot: a shift of all its scores tests nothing."""
    about = lambda scores: np.array(scores, dtype=float) - np.mean(scores)
    a, r = (np.concatenate([about(one) for one in all_of]) for all_of in (whole, scaled))
    size = math.sqrt(math.fsum(a * a) * math.fsum(r * r))
    return math.fsum(a * r) / size if size else 1.0


def summary(whole, values, names):
    """Slots whose scores are all alike are no draws; picks of one slot, by several accounts, are one cluster and one batch."""
    first = {name: at for at, name in reversed(list(enumerate(names)))}
    telling = [(f, x, first[name]) for f, x, name in zip(whole, values, names) if len(set(f)) > 1]
    telling.sort(key=lambda one: one[2])
    if not telling:
        nothing = dict.fromkeys(("sum", "estimate", "expected", "z", "n_eff", "ln_p", "log10_p", "ln_p_min"), mpf(0))
        nothing |= {"largest_share": mpf(1), "ln_e": mpf(0), "ln_e_max": mpf(0), "method": "certain"}
        return nothing | {"scored": 0, "interval": [None, None]}
    slots, values, names = zip(*telling)
    means = [Fraction(sum(f), len(f)) for f in slots]
    variances = [Fraction(sum(x * x for x in f), len(f)) - mean**2 for f, mean in zip(slots, means)]
    gross = [sum(abs(x) for x in f) for f in slots]
    variance, over = sum(variances), sum(values) - sum(means)
    expected, rate = sum(means) / sum(gross), over / sum(gross)
    ln_e, ln_e_max = exact.e_process_of_choices(slots, values, names)
    ln_p, method = tail(slots, sum(values))
    return {
        "scored": len(slots),
        "sum": mpf(sum(values)),
        "estimate": exact.real(expected + rate),
        "interval": interval([x - mean for x, mean in zip(values, means)], gross, names, rate, expected),
        "expected": exact.real(expected),
        "z": exact.real(over) / mp.sqrt(exact.real(variance)),
        "n_eff": exact.real(variance**2 / sum(v * v for v in variances)),
        "largest_share": exact.real(max(variances) / variance),
        "ln_p": ln_p,
        "log10_p": ln_p / mp.ln10,
        "ln_p_min": mp.fsum(mp.log(exact.real(Fraction(f.count(max(f)), len(f)))) for f in slots),
        "method": method,
        "ln_e": ln_e,
        "ln_e_max": ln_e_max,
    }


def tail(slots, total):
    """Binomial where all slots are one coin: two scores, as far apart and as likely."""
    if total <= sum(min(f) for f in slots):
        return mpf(0), "certain"
    coins = {(max(f) - min(f), Fraction(f.count(max(f)), len(f))) for f in slots if len(set(f)) == 2}
    if len(coins) == 1 and all(len(set(f)) == 2 for f in slots):
        (step, chance), hits = coins.pop(), total - sum(min(f) for f in slots)
        return exact.binomial(len(slots), hits // step, chance), "binomial"
    return exact.choices(slots, total), "exact-lattice"


def interval(over, gross, names, rate, expected):
    together = {}
    for a, w, name in zip(over, gross, names):
        together[name] = together.get(name, 0) + a - rate * w
    m, squares = len(together), sum(one**2 for one in together.values())
    if m < 2 or not squares:
        return [None, None]
    half = rows.NORMAL * mp.sqrt(exact.real(squares * m / (m - 1))) / sum(gross)
    return [exact.real(expected + rate) - half, exact.real(expected + rate) + half]
