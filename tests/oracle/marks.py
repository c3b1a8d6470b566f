"""`detect` over keys of our own: every key, scheme and epoch on one text, Holm over all that were tried (Holm 1979).

Rows that name another epoch do not count in an epoch. No p below 2^-128 is claimed. Other engines' marks are not tried
here: tests/check_vectors.py derives their draws.
"""

import random

from mpmath import mp, mpf

import exact
import inputs
import rows
from keyed import Spec, key_id

RUNS = 12
SPECS = ["green/1/w1/b2/t1", "green/1/w2/b8/t77", "green/1/w0/b1/t1", "gumbel/1/w1", "gumbel/1/w2+2"]
LEVEL = 1e-6
LABELS = {"file", "assumes", "key_is"}


def check(program, comparisons, every):
    """Returns the number of texts."""
    chosen = range(RUNS)[::every]
    for number in chosen:
        detected(program, comparisons, number)
    return len(chosen)


def detected(program, comparisons, number):
    rng = random.Random(f"detect {number}")
    specs, secrets = [Spec.parse(text) for text in rng.sample(SPECS, 3)], rng.sample(range(3), rng.randint(1, 3))
    marked = inputs.marked(f"detect {number}", 20, 30, 40, 2, specs[0], inputs.secret(secrets[0]), rng.choice([0, 0.2, 0.9]))
    keys = program.folder / f"keys-{number}"
    keys.mkdir(exist_ok=True)
    for secret in secrets:
        kept = keys / f"{secret}.json"
        kept.write_text(program.key(secret).read_text())
        kept.chmod(0o600)
    options = [part for spec in specs for part in ("--spec", spec.text)] + ["--epoch", inputs.DEFAULT_EPOCH]
    found = program.json("detect", "--json", "--keys", keys, *options, program.lines("text", marked))
    epochs = sorted({line["epoch"] for line in marked if "epoch" in line} | {inputs.DEFAULT_EPOCH})
    tried = {(key_id(inputs.secret(s)), spec.text, e): test(marked, spec, s, e) for s in secrets for spec in specs for e in epochs}
    corrected(tried)
    source = f"detect {number}"
    comparisons.add(source, "detect: tried", len(found["tried"]), len(tried))
    for theirs in found["tried"]:
        ours = tried[theirs["name"], theirs["mark"], theirs["epoch"]]
        comparisons.all(source, theirs, ours, "detect: ")
        comparisons.none_left(source, theirs, ours, LABELS | {"name", "mark", "epoch"})
    claimed = [at for at, theirs in enumerate(found["tried"]) if theirs["found"]]
    comparisons.add(source, "detect: found", found["found"], claimed)


def test(lines, spec, secret, epoch):
    lines = [{name: part for name, part in line.items() if name != "epoch"} for line in lines if line.get("epoch", epoch) == epoch]
    seen, _, _ = rows.count(lines, spec.width, epoch)
    keys = spec.keys(inputs.secret(secret), epoch)
    values = [spec.draw(key, window, token) for key in keys for _, window, token in seen]
    n, gamma = len(values), spec.gamma if spec.scheme == "green" else None
    if not n:
        return {"draws": 0, "z": mpf(0), "ln_p": mpf(0)}
    mean, variance = (exact.real(gamma), exact.real(gamma * (1 - gamma))) if gamma else (mpf(1), mpf(1))
    z = (sum(values) - n * mean) / mp.sqrt(variance * n)
    return {"draws": n, "z": z, "ln_p": rows.tail([1] * n, sum(values), gamma)[0]}


def corrected(tried):
    """Adds what Holm's method makes of them."""
    limit, worst = -128 * mp.ln2, -mp.inf
    ordered = sorted(tried.values(), key=lambda one: max(one["ln_p"], limit))
    for rank, one in enumerate(ordered):
        worst = max(worst, min(mpf(0), max(one["ln_p"], limit) + mp.log(len(ordered) - rank)))
        one |= {"log10_p": one["ln_p"] / mp.ln10, "limit_log10_p": limit / mp.ln10}
        one |= {"adjusted_log10_p": worst / mp.ln10, "found": bool(worst <= mp.log(LEVEL))}
