#!/usr/bin/env python3
"""Re-derives the known answers in tests/vectors/ from their definitions, with the standard library only.

Shares no code with the Rust implementation: HKDF, ChaCha20, RFC 6962 trees and the tails are written out here.
Tails are exact fractions where that is possible and sums in extended precision (decimal) elsewhere.
"""

import hashlib
import hmac
import itertools
import json
import math
import pathlib
import re
import struct
import sys
from decimal import Decimal, getcontext
from fractions import Fraction

getcontext().prec = 160
VECTORS = pathlib.Path(__file__).parent / "vectors"
MASK = 0xFFFFFFFF


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def expand(key, info):
    return hmac.new(key, info.encode() + b"\x01", "sha256").digest()


def epoch_key(case):
    return expand(bytes.fromhex(case["secret"]), "taggant/1/epoch/" + case["epoch"])


def seed_of(key, window):
    return hmac.new(key, b"".join(struct.pack("<I", token) for token in window), "sha256").digest()


def chacha20_block(key, block, stream=0):
    """One RFC 8439 block as 16 words; words 14 and 15 hold the stream id, as rand_chacha places it."""
    state = list(struct.unpack("<4I", b"expand 32-byte k")) + list(struct.unpack("<8I", key))
    state += [block & MASK, block >> 32, stream & MASK, stream >> 32]
    x = state[:]

    def quarter(a, b, c, d):
        for (i, j, k, bits) in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[i] = (x[i] + x[j]) & MASK
            mixed = x[k] ^ x[i]
            x[k] = ((mixed << bits) | (mixed >> (32 - bits))) & MASK

    for _ in range(10):
        for column in range(4):
            quarter(column, column + 4, column + 8, column + 12)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return [(a + b) & MASK for a, b in zip(x, state)]


def lane(seed, bits, token, cache={}):
    bit = bits * token
    at = (seed, bit // 512)
    if at not in cache:
        if len(cache) > 20000:
            cache.clear()
        cache[at] = chacha20_block(seed, bit // 512)
    word = cache[at][bit % 512 // 32]
    return (word >> (bit % 32)) & ((1 << bits) - 1)


def leaf_hash(commitment):
    return sha(b"\x00", commitment)


def root_and_path(leaves, index):
    """RFC 6962 root of leaf hashes, and the path of one leaf from its sibling upwards."""
    if len(leaves) == 1:
        return leaves[0], []
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    inside_left = index is not None and index < split
    left, left_path = root_and_path(leaves[:split], index if inside_left else None)
    right, right_path = root_and_path(leaves[split:], index - split if index is not None and not inside_left else None)
    path = [] if index is None else (left_path + [right] if inside_left else right_path + [left])
    return sha(b"\x01", left, right), path


def sized(text):
    return struct.pack("<I", len(text)) + text.encode()


def epoch_commitment(epoch, key):
    return sha(b"taggant/1/epoch-commitment\x00", sized(epoch), key)


def label_commitment(epoch, label, key):
    return sha(b"taggant/1/label-commitment\x00", sized(epoch), sized(label), key)


def ln(fraction):
    """ln of a positive fraction, near 1 as well as far below 1e-308."""
    value = Decimal(fraction.numerator) / Decimal(fraction.denominator)
    return float(value.ln())


def binomial_tail(n, k, gamma):
    total = sum(math.comb(n, j) * gamma**j * (1 - gamma) ** (n - j) for j in range(k, n + 1))
    return Fraction(total)


def gamma_ln_tail(n, total):
    """ln P(Gamma(n, 1) >= total) = ln of a Poisson sum."""
    s = Decimal(total)
    term, acc = Decimal(1), Decimal(1)
    for j in range(1, n):
        term = term * s / j
        acc += term
    return float(acc.ln() - s)


CHECKS = 0


def same(found, expected, what):
    global CHECKS
    CHECKS += 1
    if found != expected:
        sys.exit(f"{what}: {found!r} is not {expected!r}")


def close(found, expected, what, tolerance=1e-9):
    global CHECKS
    CHECKS += 1
    if abs(found - expected) > tolerance * abs(expected):
        sys.exit(f"{what}: {found!r} is not {expected!r}")


def check_prf(file):
    for case in file["cases"]:
        secret = bytes.fromhex(case["secret"])
        same(sha(b"taggant/1/commitment\x00", secret).hex(), case["commitment"], "commitment")
        same(case["commitment"][:16], case["key_id"], "key id")
        key = epoch_key(case)
        same(key.hex(), case["epoch_key"], "epoch key")
        same(epoch_commitment(case["epoch"], key).hex(), case["epoch_commitment"], "epoch commitment")
        keys = [expand(secret, "taggant/1/epoch/" + epoch) for epoch in case["epochs"]]
        leaves = [leaf_hash(epoch_commitment(epoch, key)) for epoch, key in zip(case["epochs"], keys)]
        root, path = root_and_path(leaves, case["epochs"].index(case["epoch"]))
        same(root.hex(), case["epoch_root"], "epoch root")
        same([node.hex() for node in path], case["epoch_inclusion"], "epoch inclusion")
        scheme = expand(key, case["label"])
        same(scheme.hex(), case["scheme_key"], "scheme key")
        same(label_commitment(case["epoch"], case["label"], scheme).hex(), case["label_commitment"], "label commitment")
        tenant = case["label"] + "/for/tenant/" + sha(case["tenant"].encode()).hex()
        same(tenant, case["tenant_label"], "tenant label")
        same(expand(key, tenant).hex(), case["tenant_key"], "tenant key")
        seed = seed_of(scheme, case["window"])
        same(seed.hex(), case["seed"], "seed")
        for entry in case["lanes"]:
            same(lane(seed, entry["bits"], entry["token"]), entry["value"], "lane")
        for row in case["rows"]:
            lanes = (struct.pack("<I", lane(seed, row["bits"], token)) for token in range(row["vocab"]))
            same(sha(*lanes).hex(), row["sha256"], "row")


def check_genesis(file):
    commitments = []
    for leaf in file["leaves"]:
        key = expand(bytes.fromhex(file["secret"]), "taggant/1/epoch/" + leaf["epoch"])
        if leaf["label"] is None:
            commitments.append(epoch_commitment(leaf["epoch"], key))
        else:
            key = expand(key, leaf["label"])
            commitments.append(label_commitment(leaf["epoch"], leaf["label"], key))
        same(key.hex(), leaf["key"], "leaf key")
        same(commitments[-1].hex(), leaf["commitment"], "leaf commitment")
    for index, leaf in enumerate(file["leaves"]):
        root, path = root_and_path([leaf_hash(commitment) for commitment in commitments], index)
        same(root.hex(), file["root"], "genesis root")
        same([node.hex() for node in path], leaf["inclusion"], "inclusion")


def check_composite(file):
    key = epoch_key(file)
    payload = expand(key, file["payload_label"])
    for entry in file["payload"]:
        bit = entry["account"] % 512
        seed = seed_of(payload, entry["window"])
        words = chacha20_block(seed, entry["token"], entry["account"] // 512)
        same(words[bit // 32] >> (bit % 32) & 1, entry["bit"], "payload bit")
    coin = expand(key, file["mix_label"] + "/coin")
    for part in (0, 1):
        same(expand(key, f"{file['mix_label']}/part/{part}").hex(), file["mix_part_keys"][part], "mix part")
        same(expand(key, f"{file['dual_label']}/arm/{part}").hex(), file["dual_arm_keys"][part], "dual arm")
    for entry in file["mix"]:
        found = lane(seed_of(coin, entry["window"]), 8, 0)
        same((found, 0 if found < 64 else 1), (entry["coin"], entry["part"]), "mix coin")


def check_green(file):
    for case in file["cases"]:
        key, width = expand(epoch_key(case), case["label"]), case["width"]
        coins = set()
        for prompt, answer in zip(case["prompts"], case["answers"]):
            context = prompt + answer
            size = max(width, 1)
            own = {tuple(prompt[i : i + size]) for i in range(len(prompt) - size + 1)}
            for i in range(max(len(prompt), width), len(context)):
                window = tuple(context[i - width : i])
                if ((context[i],) if width == 0 else window) not in own:
                    coins.add((window, context[i]))
        green = sum(lane(seed_of(key, w), case["bits"], v) < case["threshold"] for w, v in coins)
        same((len(coins), green), (case["scored"], case["green"]), "green list")
        tail = binomial_tail(len(coins), green, Fraction(case["threshold"], 1 << case["bits"]))
        close(ln(tail), case["ln_p"], "green tail")


def check_gumbel(file):
    def score(word):
        return float(-(Decimal((1 << 32) - word) / Decimal(1 << 32)).ln())

    def minus_ln_u(word):
        return float(-((Decimal(word) + Decimal("0.5")) / Decimal(1 << 32)).ln())

    for case in file["cases"]:
        key, total = expand(epoch_key(case), case["label"]), 0
        for draw in case["draws"]:
            word = lane(seed_of(key, draw["window"]), 32, draw["token"])
            same(word, draw["word"], "Gumbel word")
            close(score(word), draw["score"], "Gumbel score")
            total += score(word)
        close(total, case["sum"], "Gumbel sum")
        close(gamma_ln_tail(len(case["draws"]), total), case["ln_p"], "Gamma tail")
        for edge in case["edges"]:
            close(score(edge["word"]), edge["score"], "edge score")
            close(minus_ln_u(edge["word"]), edge["minus_ln_u"], "edge time")
        seed, p = seed_of(key, case["choice"]["window"]), case["choice"]["probabilities"]
        times = [(minus_ln_u(lane(seed, 32, v)) / q, v) for v, q in enumerate(p) if q > 0]
        same(min(times)[1], case["choice"]["token"], "Gumbel choice")


def check_tournament(file):
    for case in file["cases"]:
        seed = seed_of(expand(epoch_key(case), case["label"]), case["window"])
        words = [lane(seed, 32, v) for v in range(len(case["words"]))]
        same(words, case["words"], "tournament words")
        p = case["before"]
        for layer in range(case["depth"]):
            g = [word >> layer & 1 for word in words]
            mean = sum(q * bit for q, bit in zip(p, g))
            p = [q * (1 + bit - mean) for q, bit in zip(p, g)]
        for found, expected in zip(p, case["after"]):
            close(found, expected, "tournament")
        ones = [bin(word & ((1 << case["depth"]) - 1)).count("1") for word in words]
        same(ones, case["ones"], "tournament ones")


def check_canary(file):
    def pick(key, k):
        block = 0
        while True:
            words = chacha20_block(key, block)
            for low, high in zip(words[::2], words[1::2]):
                number = low | high << 32
                if number < (1 << 64) - ((1 << 64) % k):
                    return number % k
            block += 1

    key = epoch_key(file)
    for case in file["cases"]:
        label = f"canary/1/{file['book_sha256'][:32]}/{case['slot']}/k{case['k']}"
        same(label, case["label"], "canary label")
        same(pick(expand(key, label), case["k"]), case["pick"], "canary pick")
        words = chacha20_block(expand(key, label + "/plant"), 0)
        same(words[0] | words[1] << 32, int(case["plant_number"]), "plant number")
        account = f"{label}/for/account/{sha(file['account'].encode()).hex()}"
        same(pick(expand(key, account), case["k"]), case["account_pick"], "account pick")


def pick_of(key, k):
    return next(number for number in keystream_numbers(key) if number < 2**64 - 2**64 % k) % k


def check_attribution(file):
    """Arms of slots, cohorts of accounts, the commitment of an account set, and the tails of both tests."""
    secret = {"secret": file["secret"]}
    key = epoch_key(secret | {"epoch": file["epoch"]})
    for case in file["arms"]:
        label = f"canary/1/{file['book_sha256'][:32]}/{case['slot']}/k{case['k']}/arm"
        number = next(keystream_numbers(expand(key, label)))
        same(number, int(case["number"]), "arm number")
        below = lambda share: number < int(share * 2**64)
        arm = "sentinel" if below(case["sentinel"]) else "campaign" if below(case["sentinel"] + case["campaign"]) else "ordinary"
        same(arm, case["arm"], "arm")
    for case in file["cohorts"]:
        same(cohort_of(key, case["account"], case["cohorts"]), case["cohort"], "cohort")
    text = b"".join(len(i.encode()).to_bytes(8, "little") + i.encode() for i in sorted(file["accounts"]["ids"]))
    found = sha(b"taggant/1/accounts\0" + bytes.fromhex(file["accounts"]["salt"]) + text)
    same(found.hex(), file["accounts"]["commitment"], "account set")
    for case in file["strata"]:
        close(strata_ln_tail(case["strata"]), case["ln_p"], "strata")
    for case in file["cohort_tests"]:
        statistic, ln_p = cohort_test(secret, case)
        same(statistic, case["statistic"], "cohort statistic")
        close(ln_p, case["ln_p"], "cohort tail")


def check_traffic(file):
    """What commits to who asked for which slot."""
    size = lambda text: len(text.encode()).to_bytes(8, "little") + text.encode()
    for case in file["cases"]:
        text = b"taggant/1/traffic\0" + bytes.fromhex(case["accounts"]["salt"])
        for slot in sorted(case["traffic"], key=lambda slot: slot["slot"]):
            text += struct.pack("<Q", slot["slot"]) + size(slot["period"]) + struct.pack("<I", slot["ordinary"])
            text += struct.pack("<Q", len(slot["campaign"]))
            for id in sorted(slot["campaign"], key=str.encode):
                text += size(id) + struct.pack("<I", slot["campaign"][id])
        same(sha(text).hex(), case["commitment"], "traffic")


def cohort_of(key, account, cohorts):
    return pick_of(expand(key, f"cohort/1/c{cohorts}/for/account/{sha(account.encode()).hex()}"), cohorts)


def cohort_test(secret, case):
    """T and ln P(T >= t) over all assignments, each equally likely."""
    largest = max(abs(score) for period in case["periods"] for score in period["scores"])
    most = max(n for period in case["periods"] for n in period["requests"].values())
    statistic, law = 0, {0: Fraction(1)}
    for period in case["periods"]:
        key = epoch_key(secret | {"epoch": period["epoch"]})
        scores = [round(15 * score / largest) for score in period["scores"]]
        for account, requests in period["requests"].items():
            weight = max(1, min(8, math.ceil(8 * requests / most)))
            statistic += weight * scores[cohort_of(key, account, case["cohorts"])]
            total = {}
            for t, p in law.items():
                for score in scores:
                    total[t + weight * score] = total.get(t + weight * score, 0) + p / len(scores)
            law = total
    return statistic, ln(sum(p for t, p in law.items() if t >= statistic))


def strata_ln_tail(strata):
    """ln P of as many or more hits in the first arm, over all tables with the same totals."""
    tables, everything = {0: 1}, 1
    for items, hits, first, _ in strata:
        total = {}
        for t, ways in tables.items():
            for x in range(max(0, hits + first - items), min(hits, first) + 1):
                more = math.comb(hits, x) * math.comb(items - hits, first - x)
                total[t + x] = total.get(t + x, 0) + ways * more
        tables, everything = total, everything * math.comb(items, first)
    observed = sum(stratum[3] for stratum in strata)
    return ln(Fraction(sum(ways for t, ways in tables.items() if t >= observed), everything))


def check_canary_sets(file):
    """A book's hash, its slots as sibling sets, and which of them stay closed."""
    book = file["book"]
    sha256 = sha(canonical(book))
    same(sha256.hex(), file["book_sha256"], "book hash")
    starts = [len(book["sets"])]
    for family in book["families"]["classes"]:
        starts.append(starts[-1] + math.prod(len(book["families"]["lists"][facet]) for facet in family["facets"]))
    same(starts[-1], file["slots"], "number of slots")
    for case in file["cases"]:
        slot = case["slot"]
        at = max(i for i, start in enumerate(starts) if start <= slot)
        found = sibling_set(book["families"], book["families"]["classes"][at], slot - starts[at], slot)
        same(found, case["set"], f"set of slot {slot}")
        same(sha(canonical(found)).hex(), case["set_sha256"], f"hash of slot {slot}")
        number = sha(b"taggant/1/canary-closed\0" + sha256 + slot.to_bytes(8, "little"))[:8]
        closed = int.from_bytes(number, "little") < int(book["closed_share"] * 2**64)
        same(closed, case["closed"], f"closed slot {slot}")


def canonical(value):
    """RFC 8785 for objects with ASCII names, whole numbers and short decimals."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sibling_set(families, family, n, slot):
    values, rest = [], n
    for facet in reversed(family["facets"]):
        entries = families["lists"][facet]
        values.insert(0, entries[rest % len(entries)].split("|"))
        rest //= len(entries)
    said = dict(zip(family["facets"], values))

    def fill(template):
        def one(found):
            article, name, number = found[1], found[2], found[3]
            text = said[name][int(number or 1) - 1]
            return (("an " if text[0] in "aeiou" else "a ") if article else "") + text

        return re.sub(r"\{(a )?(?!sibling)([a-z-]+)(?: ([0-9]+))?\}", one, template)

    candidates = candidate_siblings(families, family["siblings"])
    stream = keystream_numbers(
        sha(b"taggant/1/canary-siblings\0" + family["class"].encode() + b"\0" + n.to_bytes(8, "little"))
    )
    order = list(range(len(candidates)))
    for i in range(16):
        left = len(order) - i
        step = next(number for number in stream if number < 2**64 - 2**64 % left) % left
        order[i], order[i + step] = order[i + step], order[i]
    words = lambda phrase: r"\W+".join(re.findall(r"\w+", phrase.lower()))
    return {
        "slot": slot,
        "family": "choice-slot",
        "class": family["class"],
        "language": family["language"],
        "asks": family["asks"] + [r"\b(?:" + "|".join(map(words, value)) + r")\b" for value in values],
        "prompts": [fill(prompt) for prompt in family["prompts"]],
        "steer": fill(family["steer"]),
        "siblings": [candidates[i] for i in order[:16]],
    }


def candidate_siblings(families, source):
    if "pool" in source:
        return [{"says": says, "all": [rf"\b{says}\b"]} for says in families["pools"][source["pool"]]]
    if "order" in source:
        orders = itertools.permutations(source["order"])
        return [{"says": ", ".join(order), "order": list(order)} for order in orders]
    return [
        {"says": "; ".join(way["says"] for way in ways), "all": [one for way in ways for one in way["all"]]}
        for ways in itertools.product(*source["ways"])
    ]


def keystream_numbers(key):
    for block in itertools.count():
        words = chacha20_block(key, block)
        yield from (low | high << 32 for low, high in zip(words[::2], words[1::2]))


def check_tails(file):
    for case in file["binomial"]:
        if case["n"] <= 20000:
            tail = binomial_ln_tail(case["n"], case["k"], Fraction(*case["gamma"]))
            close(tail, case["ln_p"], "binomial tail")
    for case in file["gamma"]:
        if case["n"] <= 20000:
            close(gamma_ln_tail(case["n"], case["sum"]), case["ln_p"], "gamma tail")
    for case in file["poisson_binomial"]:
        law = [Fraction(1)]
        for p in map(Fraction, case["p"]):
            law = [a * (1 - p) + b * p for a, b in zip(law + [0], [0] + law)]
        close(ln(sum(law[case["k"] :])), case["ln_p"], "Poisson-binomial tail")


def binomial_ln_tail(n, k, gamma):
    """In decimals, from the smaller side, so that a long sum stays cheap."""
    num, den = gamma.numerator, gamma.denominator
    term = Decimal(math.comb(n, k)) * Decimal(num) ** k * Decimal(den - num) ** (n - k) / Decimal(den) ** n
    if k * den >= n * num:
        total = Decimal(0)
        for j in range(k, n + 1):
            total += term
            term = term * (n - j) * num / ((j + 1) * (den - num))
        return float(total.ln())
    below = Decimal(0)
    for j in range(k, 0, -1):
        term = term * j * (den - num) / ((n - j + 1) * num)
        below += term
    return float((1 - below).ln())


def check_lattice(file):
    for case in file["cases"]:
        if "coefficients" not in case or len(case["coefficients"]) > 60:
            continue
        law = {0: Fraction(1)}
        for a, gamma in zip(case["coefficients"], case["gammas"]):
            p, new = Fraction(*gamma), {}
            for value, mass in law.items():
                new[value] = new.get(value, 0) + mass * (1 - p)
                new[value + a] = new.get(value + a, 0) + mass * p
            law = new
        close(ln(sum(mass for value, mass in law.items() if value >= case["k"])), case["ln_p"], case["name"])


def check_lattice_hard(file):
    """Counts by value in whole numbers; the units of large cases as one binomial law."""
    for case in file["cases"]:
        groups = [(group["coefficient"], *group["gamma"], group["count"]) for group in case["groups"]]
        ways, total = (units_and_others if groups[0][3] > 1000 else ways_of)(groups)
        for k, ln_p in case["tails"]:
            found = sum(count for value, count in ways.items() if value >= k)
            close(ln_of(found, total), ln_p, case["name"])


def ways_of(groups):
    ways, total = {0: 1}, 1
    for a, up, of, count in groups:
        for _ in range(count):
            new = {}
            for value, n in ways.items():
                new[value] = new.get(value, 0) + n * (of - up)
                new[value + a] = new.get(value + a, 0) + n * up
            ways, total = new, total * of
    return ways, total


def units_and_others(groups):
    (_, up, of, count), others = groups[0], groups[1:]
    units = [(of - up) ** count]
    for hits in range(count):
        units.append(units[-1] * (count - hits) * up // ((hits + 1) * (of - up)))
    found, (ways, total) = {}, ways_of(others)
    for value, n in ways.items():
        for hits, more in enumerate(units):
            found[value + hits] = found.get(value + hits, 0) + n * more
    return found, total * of**count


def ln_of(part, whole):
    """ln (part / whole) with the digits of the complement where that is small."""
    return ln(Fraction(part, whole)) if 2 * part < whole else math.log1p(-float(Fraction(whole - part, whole)))


def coins_ln_tail(coins, k):
    """ln P(a sum of independent coins >= k), coins given as (coefficient, threshold, bits), in whole numbers."""
    law, total = {0: 1}, 1
    for a, threshold, bits in coins:
        new, total = {}, total << bits
        for value, mass in law.items():
            new[value] = new.get(value, 0) + mass * ((1 << bits) - threshold)
            new[value + a] = new.get(value + a, 0) + mass * threshold
        law = new
    return ln(Fraction(sum(mass for value, mass in law.items() if value >= k), total))


def coins_of(answers, prompts, width, skip):
    """The distinct (window, token) of answers, each window before its token and at least `skip` tokens in."""
    coins = {}
    for prompt, answer in zip(prompts, answers):
        context = prompt + answer
        for i in range(max(len(prompt), skip), len(context)):
            coins.setdefault((tuple(context[i - skip : i]), tuple(context[i - width : i]), context[i]), None)
    return list(coins)


def layered(case):
    """Weighted layers: S, and P(sum of all coins >= S)."""
    total, coins = 0, []
    for a, word in zip(case["coefficients"], case["words"]):
        for layer, weight in enumerate(case["weights"]):
            total += a * weight * (word >> layer & 1)
            coins.append((a * weight, 1, 1))
    return {"sum": total, "ln_p": coins_ln_tail(coins, total)}


def marked_by(key, part, window, token):
    """(X, its coins) of one draw under a part: ["green", width, bits, threshold] or ["tournament", width, depth]."""
    if part[0] == "green":
        green = lane(seed_of(key, window), part[2], token) < part[3]
        return int(green), [(1, part[3], part[2])]
    word = lane(seed_of(key, window), 32, token)
    return bin(word & ((1 << part[2]) - 1)).count("1"), [(1, 1, 1)] * part[2]


def scored(case):
    """Distinct draws of a text under one scheme."""
    key, part = expand(epoch_key(case), case["label"]), case["part"]
    draws = {(window, token) for _, window, token in coins_of(case["answers"], case["prompts"], part[1], part[1])}
    found = [marked_by(key, part, window, token) for window, token in sorted(draws)]
    total = sum(x for x, _ in found)
    coins = [coin for _, its in found for coin in its]
    return {"draws": len(draws), "sum": total, "ln_p": coins_ln_tail(coins, total)}


def mixed(case):
    """The draws of both parts, each at the positions that the coin gives it."""
    key, parts = epoch_key(case), case["parts"]
    wide = max(part[1] for part in parts)
    coin = expand(key, case["label"] + "/coin")
    counts, total, coins = [], 0, []
    for number, part in enumerate(parts):
        mine = expand(key, f"{case['label']}/part/{number}")
        draws = {
            (window, token)
            for far, window, token in coins_of(case["answers"], case["prompts"], part[1], wide)
            if (lane(seed_of(coin, far), 8, 0) >= case["share"]) == (number == 1)
        }
        counts.append(len(draws))
        for window, token in draws:
            x, its = marked_by(mine, part, window, token)
            total, coins = total + x, coins + its
    return {"draws": counts, "sum": total, "ln_p": coins_ln_tail(coins, total)}


def accounted(case):
    """Hits, exact tail and Holm's correction for every account."""
    key, width = expand(epoch_key(case), case["label"]), case["width"]
    draws = {(window, token) for _, window, token in coins_of(case["answers"], case["prompts"], width, width)}
    hits = dict.fromkeys(case["accounts"], 0)
    for window, token in draws:
        blocks = {}
        for account in case["accounts"]:
            stream, bit = divmod(account, 512)
            if stream not in blocks:
                blocks[stream] = chacha20_block(seed_of(key, window), token, stream)
            hits[account] += blocks[stream][bit // 32] >> (bit % 32) & 1
    tails = {account: ln(binomial_tail(len(draws), hits[account], Fraction(1, 2))) for account in hits}
    adjusted, worst, left = {}, -math.inf, len(tails)
    for account in sorted(tails, key=tails.get):
        worst = max(worst, min(0.0, tails[account] + math.log(left)))
        adjusted[account], left = worst, left - 1
    tests = [[a, hits[a], tails[a], adjusted[a]] for a in sorted(hits)]
    return {"draws": len(draws), "tests": tests}


def check_scoring(file):
    kinds = {"layers": layered, "texts": scored, "mixes": mixed, "accounts": accounted}
    for kind, derive in kinds.items():
        for case in file[kind]:
            for field, value in derive(case).items():
                if field == "ln_p":
                    close(value, case[field], kind)
                elif field == "tests":
                    same([test[:2] for test in value], [test[:2] for test in case[field]], kind)
                    for found, wanted in zip(value, case[field]):
                        close(found[2], wanted[2], kind)
                        close(found[3], wanted[3], kind)
                else:
                    same(value, case[field], kind)


def main():
    files = 0
    for name, check in sorted(globals().items()):
        if name.startswith("check_"):
            check(json.loads((VECTORS / f"{name.removeprefix('check_')}.json").read_text()))
            files += 1
    print(f"{files} vector files, {CHECKS} answers re-derived")
    print(f"{CHECKS} passed, 0 failed")


if __name__ == "__main__":
    main()
