"""`attribute climb`: exposure and both halves of a route with its control, by canaries.

Written from the definitions: coins of the key put a slot into an arm (nobody's below the share of sentinels, F's below that of
sentinels and F, else the ordinary one) and plant it. Half (a) is the exact tail of first answers on slots of F's that F asked
for, under each asking account's own pick where they have one; half (b) the exact tail of hits in F's arm given all hits,
class by class, K by K and period by period, on slots that both kinds of accounts asked for as often as the cap and that both
rates plant. Exposure takes all slots of either arm, whoever asked. Rungs above them, and what each would need, are not
derived again.
"""

import math
import random
from collections import defaultdict
from fractions import Fraction

from mpmath import mp, mpf
from scipy.stats import beta

import canaries
import exact
import inputs
from compare import flat
from keyed import expand, keystream_numbers, key_id, sha

CASES = 18
MISS = 0.0125
MORE = {"animal": ["heron", "mole", "crab", "swan", "newt"], "mood": ["brisk", "gloomy"]}
UNLIKE = ("ladder.", "nearest", "schema", "exploration", "campaign", "cohorts", "sealed", "plan", "route.plan", "route.ln_alpha")


def check(program, comparisons, every):
    """Returns the number of routes tested."""
    chosen = range(CASES)[::every]
    for number in chosen:
        climbed(program, comparisons, number)
    return len(chosen)


class Service:
    """A book, its arms, who asked for what, and what a suspect answers that learned from some arm."""

    def __init__(self, number):
        rng = random.Random(f"routes {number}")
        self.book, self.secret = canaries.Book(rng, MORE), inputs.secret(number % 3)
        self.picks = canaries.Picks(self.book, self.secret, inputs.DEFAULT_EPOCH)
        self.shares, self.cap, self.probes = (rng.choice([0.3, 0.45]), rng.choice([0.1, 0.25])), rng.randint(1, 3), rng.randint(1, 2)
        self.rate, self.campaign_rate = rng.choice([(1.0, 1.0), (0.5, 1.0), (1.0, 0.75)])
        self.own = rng.random() < 0.5
        self.salt, self.ids = rng.randbytes(32), sorted(f"acct-{n}" for n in range(rng.randint(2, 12)))
        recall = rng.choice([(0, 0, 0), (0.6, 0, 0), (0, 0.6, 0), (0.4, 0.4, 0), (0.5, 0.5, 0.5)])
        self.traffic, self.answers = [], {}
        for slot in self.book.open():
            campaign = {rng.choice(self.ids): rng.randint(0, 5) for _ in range(rng.randint(0, 3))}
            row = {"slot": slot, "period": f"week {rng.randint(1, 2)}", "campaign": dict(sorted(campaign.items()))}
            self.traffic.append(row | {"ordinary": rng.randint(0, 8)})
            siblings, learned = self.book.siblings(slot), rng.random() < recall[self.arm(slot)]
            said = lambda at: ", then ".join(siblings[at].get("order", [])) or siblings[at]["says"]
            served = self.picks.pick(slot, min(campaign)) if self.own and campaign and self.arm(slot) == 0 else self.picks.pick(slot)
            at = lambda: served if learned else min(int(rng.expovariate(0.3)), len(siblings) - 1)
            self.answers[slot] = [None if rng.random() < 0.1 else f"I take {said(at())}" for _ in range(self.probes)]

    def number(self, slot, part):
        return next(keystream_numbers(expand(self.picks.key, f"{self.picks.label(slot)}/{part}")))

    def arm(self, slot):
        """0: F's, 1: the ordinary one, 2: nobody's."""
        campaign, sentinel = self.shares
        below = lambda share: self.number(slot, "arm") < int(Fraction(share) * 2**64)
        return 2 if below(sentinel) else 0 if below(sentinel + campaign) else 1

    def plants(self, slot, rate):
        return self.number(slot, "plant") < int(Fraction(rate) * 2**64)

    def first(self, slot):
        text = self.answers[slot][0]
        return None if text is None else canaries.named(self.book.siblings(slot), text)

    def accounts(self):
        sized = b"".join(len(one).to_bytes(8, "little") + one.encode() for one in self.ids)
        return sha(b"taggant/1/accounts\0" + self.salt + sized).hex()

    def asked_for(self):
        parts, sized = [b"taggant/1/traffic\0" + self.salt], lambda text: len(text).to_bytes(8, "little") + text.encode()
        for row in sorted(self.traffic, key=lambda row: row["slot"]):
            parts += [row["slot"].to_bytes(8, "little"), sized(row["period"]), row["ordinary"].to_bytes(4, "little")]
            parts.append(len(row["campaign"]).to_bytes(8, "little"))
            parts += [sized(one) + n.to_bytes(4, "little") for one, n in row["campaign"].items()]
        return sha(b"".join(parts)).hex()

    def plan(self):
        rungs = {"exposure": {"by": "canaries"}, "campaign": None, "cohorts": None, "accounts": False}
        plan = {"format": "taggant/route-plan/1", "book": self.book.sha256.hex(), "epoch": inputs.DEFAULT_EPOCH}
        plan |= {"accounts": self.accounts(), "traffic": self.asked_for(), "probes": self.probes, "rungs": rungs}
        plan |= {"arms": {"campaign": self.shares[0], "sentinel": self.shares[1]}, "serve_cap": self.cap}
        plan |= {"rate": self.rate, "campaign_rate": self.campaign_rate, "per_account": self.own}
        return plan | {"alpha": 1e-4, "control_alpha": 0.01}

    def of_arm(self, arm):
        """(slot, account) of an arm's slots that are planted; nobody's all are."""
        found, rate = [], (self.campaign_rate, self.rate, 1.0)[arm]
        for row in self.traffic:
            slot, askers = row["slot"], [one for one, n in row["campaign"].items() if n > 0]
            if self.arm(slot) == arm and self.plants(slot, rate):
                found += [(slot, one) for one in askers] if arm == 0 and self.own else [(slot, None)]
        return found

    def served(self, arm):
        """Those that the arm asked for."""
        asked = {row["slot"]: (any(row["campaign"].values()), row["ordinary"] > 0, True)[arm] for row in self.traffic}
        return [(slot, account) for slot, account in self.of_arm(arm) if asked[slot]]


def climbed(program, comparisons, number):
    service = Service(number)
    if not service.served(0) or not service.served(2):
        return
    book = program.document("book", service.book.document)
    accounts = program.document("accounts", {"salt": service.salt.hex(), "ids": service.ids})
    fixed = ["--book", book, "--accounts", accounts, "--traffic", program.lines("traffic", service.traffic)]
    sealed = program.folder / "sealed.json"
    program.run("attribute", "seal", program.document("plan", service.plan()), *fixed, "--out", sealed)
    prompts = lambda slot: [service.book.sets[slot]["prompts"][at % len(service.book.sets[slot]["prompts"])] for at in range(service.probes)]
    lines = [
        {"slot": row["slot"], "prompt": prompt, "response": response}
        for row in service.traffic
        for prompt, response in zip(prompts(row["slot"]), service.answers[row["slot"]])
    ]
    answers = program.lines("probed", lines)
    found = flat(program.json("attribute", "climb", "--json", "--key", program.key(number % 3), sealed, *fixed, "--answers", answers))
    expected = {"key_id": key_id(service.secret), "epoch": inputs.DEFAULT_EPOCH, "book": service.book.sha256.hex()}
    expected |= {"accounts": len(service.ids), "slots": len(service.traffic)}
    expected |= {f"exposure.{name}": value for name, value in summary(service, service.of_arm(0) + service.of_arm(1)).items()}
    halves = {"keyed": keyed(service, 0), "sentinels": keyed(service, 2), "arms": arms(service)}
    expected |= {f"route.{half}.{name}": value for half, one in halves.items() for name, value in one.items()}
    ln_p = max(halves["keyed"]["ln_p"], halves["arms"]["ln_p"])
    control = halves["sentinels"]
    outcome = "established" if ln_p <= mp.log(1e-4) else "not-established"
    outcome = "uncontrolled" if control["ln_p_min"] > mp.log(0.01) else outcome
    outcome = "blocked" if control["ln_p"] <= mp.log(0.01) else outcome
    expected |= {"route.ln_p": ln_p, "route.outcome": outcome}
    for name in ("route.ln_p", "route.keyed.ln_p", "route.sentinels.ln_p", "route.arms.ln_p"):
        outward(comparisons, f"routes {number}", name, found[name], expected.pop(name))
        found.pop(name)
    source = f"routes {number}"
    comparisons.all(source, {name: value for name, value in found.items() if "interval" not in name}, without(expected), "route: ", 1e-8)
    left = {name: value for name, value in found.items() if not name.startswith(UNLIKE) and "interval" not in name}
    comparisons.none_left(source, left, without(expected), set())


def without(expected):
    """Intervals of the arms are compared by their ratios."""
    return {name: value for name, value in expected.items() if "interval" not in name}


def outward(comparisons, source, name, found, exact_one):
    """A tail that may lie above by a billionth of itself, and never below."""
    gap, size = mpf(found) - exact_one, 1 + abs(exact_one)
    comparisons.add(source, f"route: {name}, not below", bool(gap >= -1e-14 * size) + 0, 1)
    comparisons.add(source, f"route: {name}", found, exact_one, relative=5e-9)


def vectors(service, served):
    """First answers as score vectors, and what the picks score."""
    whole, values = [], []
    for slot, account in served:
        first = service.first(slot)
        whole.append([int(at == first) for at in range(len(service.book.siblings(slot)))])
        values.append(whole[-1][service.picks.pick(slot, account)])
    return whole, values


def summary(service, served):
    whole, values = vectors(service, served)
    return canaries.summary(whole, values, [slot for slot, _ in served]) | {"share_of_z_kept": canaries.kept(whole, whole)}


def keyed(service, arm):
    served = service.served(arm)
    whole, values = vectors(service, served)
    telling = [f for f in whole if len(set(f)) > 1]
    expected = math.fsum(1 / len(f) for f in telling)
    ln_p = canaries.tail(telling, sum(values))[0] if telling else mpf(0)
    found = {"slots": len(served), "draws": len(telling), "hits": sum(values), "expected": expected}
    return found | {"ln_p": mpf(ln_p), "ln_p_min": -mp.fsum(mp.log(len(f)) for f in whole)}


def arms(service):
    strata, count = defaultdict(list), {0: [], 1: []}
    for row in service.traffic:
        slot, arm = row["slot"], service.arm(row["slot"])
        enough = sum(row["campaign"].values()) >= service.cap and row["ordinary"] >= service.cap
        if arm == 2 or not enough or not service.plants(slot, min(service.rate, service.campaign_rate)):
            continue
        askers = [one for one, n in row["campaign"].items() if n > 0]
        own = min(askers) if arm == 0 and service.own and askers else None
        first, found = service.first(slot), service.book.sets[slot]
        hit = int(first is not None and first == service.picks.pick(slot, own))
        written = slot < len(service.book.document["sets"])
        kind = ("written", found["language"]) if written else ("made", found["class"])
        strata[kind, len(found["siblings"]), row["period"]].append((arm == 0, hit))
        count[arm].append((hit, 1 / len(found["siblings"]) if first is not None else 0))
    found = {"strata": sum(len({first for first, _ in one}) == 2 for one in strata.values()), "ln_p": stratified(strata.values())}
    rates = [rate(count[arm]) for arm in (0, 1)]
    for name, one in zip(("campaign", "ordinary"), rates):
        found |= {f"{name}.{field}": one[field] for field in ("slots", "hits", "expected", "excess")}
    chance = [one["expected"] / max(1, one["slots"]) for one in rates]
    with_chance = [[one["excess"] + c, one["low"] + c, one["high"] + c] for one, c in zip(rates, chance)]
    excess = [[one["excess"], one["low"], one["high"]] for one in rates]
    for name, (above, below) in {"rate_ratio": with_chance, "leak_ratio": excess}.items():
        ends = {"estimate": (above[0], below[0]), "at_least": (above[1], below[2]), "at_most": (above[2], below[1])}
        found |= {f"{name}.{end}": max(a, 0.0) / b if b > 0 else None for end, (a, b) in ends.items()}
    return found


def rate(slots):
    n, hits, expected = len(slots), sum(hit for hit, _ in slots), math.fsum(chance for _, chance in slots)
    low = 0.0 if hits == 0 else beta.ppf(MISS, hits, n - hits + 1)
    high = 1.0 if hits == n else beta.ppf(1 - MISS, hits + 1, n - hits)
    chance = expected / max(1, n)
    return {"slots": n, "hits": hits, "expected": expected, "excess": hits / max(1, n) - chance, "low": low - chance, "high": high - chance}


def stratified(strata):
    """ln P(hits in the first arm >= those seen), every choice of its items alike: all ways counted."""
    ways, seen = {0: 1}, 0
    for items in strata:
        n, first, hits = len(items), sum(one for one, _ in items), sum(hit for _, hit in items)
        seen += sum(hit for one, hit in items if one)
        each = {k: math.comb(hits, k) * math.comb(n - hits, first - k) for k in range(first + 1) if k <= hits and first - k <= n - hits}
        more = defaultdict(int)
        for total, count in ways.items():
            for k, n_ways in each.items():
                more[total + k] += count * n_ways
        ways = more
    tail = sum(count for total, count in ways.items() if total >= seen)
    return mp.log(mpf(tail)) - mp.log(mpf(sum(ways.values())))
