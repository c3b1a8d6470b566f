"""`score` without a reference: every scheme, both ways to count."""

import random

import inputs
import rows
from keyed import Spec, key_id

SPECS = [
    "green/1/w0/b1/t1",
    "green/1/w0/b8/t40",
    "green/1/w1/b1/t1",
    "green/1/w1/b2/t1",
    "green/1/w1/b2/t3",
    "green/1/w2/b2/t1",
    "green/1/w2/b8/t77",
    "green/1/w4/b4/t5",
    "green/1/w3/b16/t9000",
    "green/1/w16/b32/t1000000000",
    "gumbel/1/w0",
    "gumbel/1/w1",
    "gumbel/1/w4",
    "gumbel/1/w2+2",
]
LONG = ["green/1/w1/b2/t1", "green/1/w2/b8/t77", "gumbel/1/w1"]
LABELS = {"schema", "exploration", "spec", "references"}
STATISTICS = ["distinct", "root-count"]


def cases():
    """(name, rows, spec, number of the secret)."""
    for index, text in enumerate(SPECS):
        spec = Spec.parse(text)
        number = index % 3
        secret = inputs.secret(number)
        name = text.replace("/", "-")
        yield f"{name}.few", inputs.plain(f"{index} few", 6, 9, 8, 1), spec, number
        yield f"{name}.plain", inputs.plain(index, 40, 60, 40, 1), spec, (index + 1) % 3
        yield f"{name}.epochs", inputs.plain(f"{index} epochs", 40, 25, 30, 3), spec, (index + 2) % 3
        yield f"{name}.weak", inputs.marked(f"{index} weak", 30, 40, 40, 1, spec, secret, 0.2), spec, number
        yield f"{name}.strong", inputs.marked(f"{index} strong", 40, 30, 60, 2, spec, secret, 0.9), spec, number
        avoided = inputs.marked(f"{index} avoid", 12, 20, 20, 1, spec, secret, 0.6, 2, -1)
        yield f"{name}.avoided", avoided, spec, number
        if spec.scheme == "green":
            yield f"{name}.all", inputs.marked(f"{index} all", 5, 40, 12, 1, spec, secret, 1, 40), spec, number
        if text in LONG:
            yield f"{name}.long", inputs.marked(f"{index} long", 120, 80, 120, 2, spec, secret, 0.95), spec, number
        if spec.width == 1:
            yield f"{name}.ties", inputs.ties(["a", "b", "c", "d"]), spec, number


def check(program, comparisons, every):
    """Returns the number of files scored."""
    chosen = [(case, statistic) for case in cases() for statistic in STATISTICS]
    random.Random("order").shuffle(chosen)  # so that every n-th is of any kind
    chosen = chosen[::every]
    for (name, lines, spec, number), statistic in chosen:
        found = program.score(name, lines, spec, number, "--statistic", statistic)
        expected = rows.score(lines, spec, statistic, inputs.secret(number), inputs.DEFAULT_EPOCH)
        compared(comparisons, f"{name} {statistic}", found, expected, spec, number)
    return len(chosen)


def compared(comparisons, source, found, expected, spec, number, prefix=""):
    if found is None or expected is None:
        comparisons.add(source, prefix + "nothing to score", found is None, expected is None)
        return
    expected |= {"key_id": key_id(inputs.secret(number)), "gamma": None}
    if spec.scheme == "green":
        expected["gamma"] = [spec.threshold, 1 << spec.bits]
    else:
        del expected["green"], expected["gamma"]
    comparisons.all(source, found, expected, prefix)
    comparisons.none_left(source, found, expected, LABELS)
