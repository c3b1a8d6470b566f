"""Random rows with fixed seeds: repeated windows, short answers, copied prompts, several epochs, marked answers."""

import random

EPOCHS = ["2026-q3", "2026-q4", "2027-q1"]
DEFAULT_EPOCH = "2026-q4"


def secret(number):
    return random.Random(f"secret {number}").randbytes(32)


def plain(seed, rows, vocabulary, longest, epochs):
    """Unmarked answers over a Zipf vocabulary; some rows name no prompt, some copy from it, some are very short."""
    rng = random.Random(f"plain {seed}")
    ids = [rng.randrange(2**32) if rng.random() < 0.05 else rng.randrange(60_000) for _ in range(vocabulary)]
    weights = [1 / (rank + 2) for rank in range(vocabulary)]
    found = []
    for number in range(rows):
        prompt = rng.choices(ids, weights, k=rng.randint(1, 12))
        length = rng.randint(1, 3) if rng.random() < 0.2 else rng.randint(1, longest)
        answer = rng.choices(ids, weights, k=length)
        if rng.random() < 0.2:
            at = rng.randrange(len(prompt))
            answer[1:1] = prompt[at : at + 4]
        found.append(row(rng, number, None if rng.random() < 0.1 else prompt, answer, epochs))
    return found


def marked(seed, rows, vocabulary, length, epochs, spec, secret, share, candidates=3, sign=1):
    """Answers where a share of the tokens has the largest draw (sign -1: the smallest) among some candidates."""
    rng = random.Random(f"marked {seed}")
    found, keys = [], {}
    for number in range(rows):
        prompt = [rng.randrange(vocabulary) for _ in range(rng.randint(1, 6))]
        entry = row(rng, number, prompt, [], epochs)
        epoch = entry.get("epoch", DEFAULT_EPOCH)
        keys.setdefault(epoch, spec.keys(secret, epoch))
        size = rng.randint(1, length)
        entry["response_tokens"] = answer(rng, prompt, vocabulary, size, spec, keys[epoch], share, candidates, sign)
        found.append(entry)
    return found


def answer(rng, prompt, vocabulary, size, spec, keys, share, candidates=3, sign=1):
    context = list(prompt)
    for _ in range(size):
        choice = [rng.randrange(vocabulary) for _ in range(candidates)]
        if rng.random() < share and len(context) >= spec.width:
            key, window = rng.choice(keys), tuple(context[len(context) - spec.width :])
            choice.sort(key=lambda token: -sign * spec.draw(key, window, token))
        context.append(choice[0])
    return context[len(prompt) :]


def ties(epochs):
    """Counts n whose 127 * sqrt(n / max) is 63 and a half: a quarter of the largest count."""
    found = []
    for epoch, (n, largest) in zip(epochs, [(1, 4), (9, 36), (25, 100), (3, 12)]):
        for token, repeats in ((7, largest), (8, n), (9, 1), (10, n + n // 2)):
            for copy in range(repeats):
                found.append({"id": f"{epoch} {token} {copy}", "prompt_tokens": [1, 2], "response_tokens": [3, token]})
                found[-1]["epoch"] = epoch
    return found


def row(rng, number, prompt, answer, epochs):
    entry = {"id": str(number)}
    if prompt is not None:
        entry["prompt_tokens"] = prompt
    entry["response_tokens"] = answer
    epoch = rng.choice(EPOCHS[:epochs] + [None])
    if epochs > 1 and epoch is not None:
        entry["epoch"] = epoch
    return entry
