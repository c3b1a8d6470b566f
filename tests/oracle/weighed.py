"""`canary score --log-probabilities`: siblings that stand out in their slots, and ranks of twins.

Written from the definitions: from each ln p the median of its slot and, where the text is a sibling of other slots too, the
median of the text are taken away in turn, three times; the unit is 1.4826 times the median absolute value of what is left in
the class, texts of one slot apart from those of several, 8 units the most; f(k) = ln(1 - e + e K q(k)), q the softmax. A twin's
value is ln p a character, less the reference's; rank r among m scores m + 1 - 2r, and ties are lost.
"""

import math
import random
import statistics
from collections import defaultdict

import canaries
import inputs
import planning
import rows
from compare import flat
from keyed import canonical, key_id, sha

CASES = 24
LABELS = canaries.LABELS | {"readings"}
LEARNED, SWEEPS, MOST = 0.05, 3, 8
NORMAL = 1.4826022185056018  # the normal law's spread, in median absolute values


def check(program, comparisons, every):
    """Returns the number of files scored."""
    chosen = range(CASES)[::every]
    for number in chosen:
        weighed(program, comparisons, number)
    return len(chosen)


def weighed(program, comparisons, number):
    rng = random.Random(f"weighed {number}")
    twins = number % 4 == 3
    book = of_twins(rng) if twins else canaries.Book(rng)
    secret = inputs.secret(number % 3)
    picks = canaries.Picks(book, secret, inputs.DEFAULT_EPOCH)
    accounts = lambda: rng.choice([[None], [None], ["a", "b c"]]) if not twins else [None]
    asked = [(slot, account) for slot in book.open() for account in accounts()]
    rng.shuffle(asked)
    asked = asked[: rng.randint(1, len(asked))]
    raised, beside = rng.choice([0, 0, 2, 6]), rng.random() < 0.5
    lines = [line(rng, book, pick, picks, raised, twins and beside) for pick in asked]
    path = program.document("book", book.document)
    key = ["--key", program.key(number % 3), "--epoch", inputs.DEFAULT_EPOCH, "--book", path]
    command = ["canary", "score", "--json", "--log-probabilities", *key, program.lines("weighed", lines)]
    found = flat(program.json(*command))
    scores = ranks(book, lines) if twins else stand_out(book, lines)
    scores, served = scores
    values = [served(at, picks.pick(*pick)) for at, pick in enumerate(asked)]
    expected = summarised(scores, values, [slot for slot, _ in asked], twins)
    needed = planning.first_on_ladder(1 / 16, 0.01, 1e-6, 0.9)
    expected |= {"key_id": key_id(secret), "epoch": inputs.DEFAULT_EPOCH, "book": book.sha256.hex(), "slots": len(asked)}
    expected |= {"silent": 0, "feasibility.have": len(asked), "feasibility.needed": float(needed)}
    kind = "twins" if twins else "likelihoods"
    comparisons.all(f"weighed {number}", found, expected, f"canary {kind}: ")
    comparisons.none_left(f"weighed {number}", found, expected, LABELS)


def of_twins(rng):
    book = canaries.Book(rng)
    way = lambda: " ".join(rng.choice(["north", "south", "slowly", "there", "at once"]) for _ in range(rng.randint(1, 6)))
    sets = []
    for slot in range(40):
        siblings = sorted({f"Go {way()}." for _ in range(rng.randint(4, 9))})
        found = {"slot": slot, "family": "twin", "class": "twin", "language": "en", "asks": [], "steer": "{sibling}"}
        found |= {"prompts": [f"Where to on day {slot}?"], "siblings": [{"says": says} for says in siblings]}
        found |= {"sampling": {"generator": "g", "mark": "none", "sampled": len(siblings)}}
        sets.append(found)
    families = dict(book.document["families"], classes=[])
    book.document |= {"sets": sets, "families": families}
    book.sha256, book.classes = sha(canonical(book.document)), []
    book.sets = {found["slot"]: found for found in sets}
    return book


def line(rng, book, pick, picks, raised, beside):
    """Tastes, sometimes alike; what was served is raised."""
    siblings = book.siblings(pick[0])
    likes = [-rng.choice([3.0, 5.5, rng.uniform(0.1, 40)]) for _ in siblings]
    likes[picks.pick(*pick)] = min(-0.01, likes[picks.pick(*pick)] + raised)
    if rng.random() < 0.05:
        likes[rng.randrange(len(likes))] = -9999.0
    found = {"slot": pick[0], "ln_p": likes} | ({"account": pick[1]} if pick[1] else {})
    return found | ({"reference_ln_p": [-rng.uniform(0.1, 40) for _ in siblings]} if beside else {})


def stand_out(book, lines):
    texts = [book.texts[one["slot"]] for one in lines]
    left = [list(one["ln_p"]) for one in lines]
    shared = {}
    for _ in range(SWEEPS):
        left = [[value - statistics.median(slot) for value in slot] for slot in left]
        stands, seen = defaultdict(list), set()
        for one, names, slot in zip(lines, texts, left):
            if one["slot"] not in seen:
                seen.add(one["slot"])
                for name, value in zip(names, slot):
                    stands[name].append(value)
        shared = {name: statistics.median(values) for name, values in stands.items() if len(values) > 1}
        left = [[value - shared.get(name, 0.0) for name, value in zip(names, slot)] for names, slot in zip(texts, left)]
    spread = defaultdict(list)
    for names, slot in zip(texts, left):
        for name, value in zip(names, slot):
            spread[name[0], name in shared].append(abs(value))
    unit = {kind: NORMAL * statistics.median(values) or 1.0 for kind, values in spread.items()}
    scores = []
    for names, slot in zip(texts, left):
        out = [max(-MOST, min(MOST, v / unit[name[0], name in shared])) for name, v in zip(names, slot)]
        mean = math.fsum(math.exp(v) for v in out) / len(out)
        scores.append([math.log(1 - LEARNED + LEARNED * math.exp(v) / mean) for v in out])
    largest = max(abs(f) for slot in scores for f in slot)
    scaled = [[f * rows.LARGEST / largest if largest else 0.0 for f in slot] for slot in scores]
    whole = [[canaries.rounded(f) for f in slot] for slot in scaled]
    return (whole, scaled), lambda at, pick: whole[at][pick]


def ranks(book, lines):
    scores, places = [], []
    for one in lines:
        siblings = book.siblings(one["slot"])
        reference = one.get("reference_ln_p", [0.0] * len(siblings))
        values = [(p - b) / len(sibling["says"]) for p, b, sibling in zip(one["ln_p"], reference, siblings)]
        places.append([sum(other >= value for other in values) for value in values])
        scores.append([len(siblings) + 1 - 2 * r for r in range(1, len(siblings) + 1)])
    return (scores, scores), lambda at, pick: scores[at][places[at][pick] - 1]


def summarised(scores, values, slots, twins):
    whole, scaled = scores
    found = canaries.summary(whole, values, slots)
    found["share_of_z_kept"] = 1.0 if twins else canaries.kept(whole, scaled)
    return {f"summary.{name}": value for name, value in found.items()}
