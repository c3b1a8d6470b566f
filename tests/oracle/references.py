"""`score --reference`: beside exact models, and beside the embedded one."""

import pathlib
import random

import inputs
import models
import residual
import scores
from keyed import Spec

SPECS = [
    "green/1/w1/b1/t1",
    "green/1/w1/b2/t1",
    "green/1/w1/b8/t40",
    "green/1/w2/b2/t1",
    "green/1/w3/b16/t9000",
    "green/1/w4/b4/t5",
]
EXACT = 96
EMBEDDED = 16
CORPORA = pathlib.Path(__file__).resolve().parent.parent.parent / "corpora"
SINGLE = 1e-5  # an Nb relatively this near a half (in units of 2^-10) may round to either side
ROUGHLY = 1e-3


def check(program, comparisons, every):
    """Returns the number of files scored."""
    chosen = [*range(EXACT)][::every]
    for number in chosen:
        exact(program, comparisons, number)
    teacher = models.Embedded(CORPORA / "teacher.safetensors")
    others = [*range(EMBEDDED)][::every]
    for number in others:
        embedded(program, comparisons, number, teacher)
    return len(chosen) + len(others)


def texts(rng, name, spec, vocabulary, rows, longest, number):
    """Marked and plain answers; some rows name no prompt."""
    epochs, share = rng.choice([1, 1, 3]), rng.choice([0, 0, 0.5, 0.9])
    lines = inputs.marked(name, rows, vocabulary, longest, epochs, spec, inputs.secret(number), share)
    for line in lines:
        if rng.random() < 0.15:
            del line["prompt_tokens"]
    return lines


def exact(program, comparisons, number):
    """One to eight averaged models; with eight, a probability of 2^-11 is half a unit of Nb, a tie."""
    rng = random.Random(f"exact {number}")
    spec, vocabulary = Spec.parse(rng.choice(SPECS)), rng.choice([16, 64, 256])
    lines = texts(rng, f"exact {number}", spec, vocabulary, rng.randint(4, 30), rng.choice([10, 30, 60]), number % 3)
    seeds = [f"{number} {i}" for i in range(rng.choice([1, 2, 4, 8]))]
    references = [models.Exact(seed, vocabulary, rng.random() < 0.4) for seed in seeds]
    options, exposure = [], None
    for index, reference in enumerate(references):
        path = program.folder / f"reference-{index}.gguf"
        reference.write(path)
        options += ["--reference", path]
    if rng.random() < 0.5:
        exposure = texts(rng, f"exposure {number}", spec, vocabulary, 20, 40, 9)
        for line in exposure:
            line["epoch"] = None
        options += ["--exposure", program.lines("exposure", exposure)]
    found = program.score("beside", lines, spec, number % 3, *options)
    expected = residual.score(lines, spec, references, exposure, inputs.secret(number % 3), inputs.DEFAULT_EPOCH)
    scores.compared(comparisons, f"reference {number} {spec.text}", found, expected, spec, number % 3, "beside: ")


def embedded(program, comparisons, number, teacher):
    """The program's model computes in single precision, the oracle's in double: both round to the same Nb unless one
    lies next to a half, and then only the numbers of such texts are compared roughly.
    """
    rng = random.Random(f"embedded {number}")
    spec, longest = Spec.parse(rng.choice(SPECS)), 15 if number % 2 else 250
    lines = texts(rng, f"embedded {number}", spec, 300, rng.randint(1, 4), longest, number % 3)
    found = program.score("embedded", lines, spec, number % 3, "--reference", "embedded")
    secret = inputs.secret(number % 3)
    expected, near = residual.score_near(lines, spec, [teacher], None, secret, inputs.DEFAULT_EPOCH)
    source = f"embedded {number} {spec.text}"
    if near > SINGLE or found is None or expected is None:
        scores.compared(comparisons, source, found, expected, spec, number % 3, "beside embedded: ")
    else:
        rough = {name: expected[name] for name in ("z", "estimate", "n_eff", "share_of_z_kept", "positions", "rows")}
        comparisons.all(source, found, rough, "beside embedded, Nb near a half: ", ROUGHLY)
