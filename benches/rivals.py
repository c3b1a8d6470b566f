#!/usr/bin/env python3
"""Taggant beside the real packages of others, in one run on one core: `make rivals`.

Each round times our program, then every rival; the ratio of a round is rival / ours, and the middle one of the rounds is
printed with the least and the greatest. A rival's code is called as its own integration calls it, untouched, on a warm
process; its time is the best of several, as ours is. What a rival's step contains, ours contains (the tournament picks its
40 candidates too). Texts are lists of tokens: no tokenizer runs on either side. Torch has one thread.

    rivals.py OURS...

OURS is the command of our side.
"""

import json
import os
import random
import subprocess
import sys
import time
import warnings

os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
warnings.filterwarnings("ignore")

import torch  # noqa: E402
import transformers  # noqa: E402
from sbw.batch import WatermarkBatch  # noqa: E402
from sbw.detector import WatermarkDetector as SbwDetector  # noqa: E402
from synthid_text.logits_processing import SynthIDLogitsProcessor  # noqa: E402
from transformers import WatermarkDetector, WatermarkingConfig  # noqa: E402
from transformers.generation.logits_process import (  # noqa: E402
    SynthIDTextWatermarkLogitsProcessor,
    WatermarkLogitsProcessor,
)

ROUNDS = 3
SMALL, LARGE = 50_257, 128_256
CPU = torch.device("cpu")
torch.set_num_threads(1)
torch.manual_seed(1)


def best(calls, work, rounds=5):
    """Nanoseconds a call."""
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter_ns()
        for _ in range(calls):
            work()
        times.append((time.perf_counter_ns() - start) / calls)
    return min(times)


def contexts():
    """A new window at every call, as in service."""
    generator = random.Random(2)
    while True:
        yield torch.tensor([[generator.randrange(SMALL) for _ in range(8)]])


def on_rows(vocabulary, calls, step):
    scores, windows = torch.rand(1, vocabulary) * 10, contexts()
    return best(calls, lambda: step(next(windows), scores))


def sbw_philox(vocabulary):
    mark = WatermarkBatch(list(range(vocabulary)), 0.25, 2.0, "gpu-simple_1", device=CPU)
    return on_rows(vocabulary, 50, lambda ids, scores: mark.apply_watermark_fused(ids[:, -1:], scores))


def huggingface_kgw(vocabulary):
    mark = WatermarkLogitsProcessor(vocab_size=vocabulary, device="cpu", greenlist_ratio=0.25, bias=2.0)
    return on_rows(vocabulary, 30, mark)


def synthid_top_40(vocabulary):
    mark = SynthIDLogitsProcessor(
        ngram_len=5, keys=list(range(1, 31)), context_history_size=1024, temperature=1.0, top_k=40, device=CPU,
        sampling_table_size=2**16, sampling_table_seed=0,
    )
    return on_rows(vocabulary, 30, mark.watermarked_call)


def huggingface_synthid(vocabulary):
    mark = SynthIDTextWatermarkLogitsProcessor(5, list(range(1, 31)), 2**16, 0, 1024, CPU)
    windows, scores = contexts(), torch.rand(1, vocabulary) * 10
    return best(1, lambda: mark(next(windows), scores), rounds=3)


def texts(count):
    generator = random.Random(3)
    return [[generator.randrange(SMALL) for _ in range(1_000)] for _ in range(count)]


def huggingface_detector(_):
    model = transformers.PreTrainedConfig()
    model.vocab_size, model.bos_token_id = SMALL, -1
    detector = WatermarkDetector(model, "cpu", WatermarkingConfig(), ignore_repeated_ngrams=True)
    text = iter(texts(3))
    return best(1, lambda: detector(torch.tensor([next(text)])), rounds=2) / 1_000


def sbw_detector(_):
    class Tokenizer:
        bos_token_id = -1

    detector = SbwDetector(CPU, Tokenizer(), list(range(SMALL)), 0.25, seeding_scheme="gpu-simple_1")
    every = [torch.tensor(text) for text in texts(50)]
    return best(1, lambda: [detector.detect(tokenized_text=text) for text in every]) / 50_000


def huggingface_synthid_detector(_):
    """The words of a text and their weighted mean; its own mask of repeated contexts."""
    mark = SynthIDTextWatermarkLogitsProcessor(5, list(range(1, 31)), 2**16, 0, 1024, CPU)
    text = torch.tensor(texts(50))

    def detect():
        g = mark.compute_g_values(text)
        mask = mark.compute_context_repetition_mask(text)
        return (g.float().mean(-1) * mask).sum(1) / mask.sum(1)

    return best(1, detect) / 50_000


# Rival, its vocabulary, our work, and how many times we want to be faster (none: printed, not claimed).
CASES = [
    ("sbw 1.0.0, Philox", sbw_philox, SMALL, "embed green", 10),
    ("sbw 1.0.0, Philox", sbw_philox, LARGE, "embed green", 10),
    ("Hugging Face KGW", huggingface_kgw, SMALL, "embed green", 40),
    ("Hugging Face KGW", huggingface_kgw, LARGE, "embed green", 40),
    ("synthid-text 0.2.1, top-k 40", synthid_top_40, SMALL, "embed tournament", 20),
    ("synthid-text 0.2.1, top-k 40", synthid_top_40, LARGE, "embed tournament", 20),
    ("Hugging Face SynthID, all tokens", huggingface_synthid, SMALL, "embed tournament", None),
    ("Hugging Face KGW detector", huggingface_detector, SMALL, "score green/1/w1/b2/t1", 700),
    ("sbw 1.0.0 Philox detector", sbw_detector, SMALL, "score green/1/w1/b2/t1", 10),
    ("Hugging Face SynthID, g and mask", huggingface_synthid_detector, SMALL, "score green/1/w2/b2/t1", None),
]


def ours():
    run = subprocess.run(sys.argv[1:], check=True, capture_output=True, text=True)
    rows = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    return {(row["name"], row["vocabulary"]): row["ns"] for row in rows}


def main():
    ratios = [[] for _ in CASES]
    for _ in range(ROUNDS):
        mine = ours()
        for at, (_, rival, vocabulary, name, _) in enumerate(CASES):
            theirs = rival(vocabulary)
            ratios[at].append((theirs / mine[name, vocabulary], theirs, mine[name, vocabulary]))
    print(f"torch {torch.__version__}, synthid-text 0.2.1, transformers {transformers.__version__}, one core, {ROUNDS} rounds")
    print("microseconds a row (embedding) or a token (scoring); the ratio is theirs / ours, least and greatest of the rounds")
    for (rival, _, vocabulary, name, wanted), found in zip(CASES, ratios):
        found.sort()
        ratio, theirs, mine = found[len(found) // 2]
        verdict = "not claimed" if wanted is None else f"wanted {wanted}: {'met' if ratio >= wanted else 'MISSED'}"
        print(
            f"{rival:34} V {vocabulary:7} {theirs / 1e3:11.2f}  {name:24} {mine / 1e3:9.2f}  "
            f"{ratio:8.1f} x ({found[0][0]:.1f}-{found[-1][0]:.1f})  {verdict}"
        )


if __name__ == "__main__":
    main()
