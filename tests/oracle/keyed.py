"""Specs, and what a key makes of a (window, token).

HKDF-Expand, the HMAC seed and the ChaCha20 lanes come from tests/check_vectors.py; what a scheme does with a lane is
written here, from the definition of taggant/1: green when lane < threshold; Gumbel X = -ln((c + 1) / 2^32) with
c = 2^32 - 1 - word.
"""

import pathlib
import struct
import sys
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from mpmath import mp, mpf

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from check_vectors import chacha20_block, expand, lane, seed_of, sha
from check_vectors import canonical, candidate_siblings, keystream_numbers, pick_of, sibling_set  # for canaries

mp.dps = 60
EPOCH = "taggant/1/epoch/"


@dataclass(frozen=True)
class Spec:
    """`green/1/w<w>/b<b>/t<t>` or `gumbel/1/w<w>[+2]`; the label of the key has no `+2`."""

    text: str
    scheme: str
    width: int
    bits: int
    threshold: int
    arms: int

    @classmethod
    def parse(cls, text):
        label, _, arms = text.partition("+")
        parts = label.split("/")
        width = int(parts[2][1:])
        if parts[0] == "green":
            return cls(text, "green", width, int(parts[3][1:]), int(parts[4][1:]), 1)
        return cls(text, "gumbel", width, 32, 0, int(arms or 1))

    @property
    def gamma(self):
        return Fraction(self.threshold, 1 << self.bits)

    def labels(self):
        """Of its key, or of both arms'."""
        label = self.text.partition("+")[0]
        return [label] if self.arms == 1 else [f"{label}/arm/{arm}" for arm in range(self.arms)]

    def keys(self, secret, epoch):
        """The scheme key of an epoch, or the keys of both arms."""
        epoch_key = expand(secret, EPOCH + epoch)
        return [expand(epoch_key, label) for label in self.labels()]

    def draw(self, key, window, token, seeds={}):
        """X: 0 or 1 for green; -ln((c + 1) / 2^32) as mpf for Gumbel."""
        at = (key, window)
        if at not in seeds:
            seeds[at] = seed_of(key, window)
        found = lane(seeds[at], self.bits, token)
        return int(found < self.threshold) if self.scheme == "green" else exponential(found)


    def greens(self, key, pairs):
        """X of many (window, token) pairs, as 0 and 1."""
        seeds = {window: seed_of(key, window) for window in {window for window, _ in pairs}}
        words, at = {}, [(seeds[window], self.bits * token) for window, token in pairs]
        wanted = sorted({(seed, bit // 512) for seed, bit in at})
        for start in range(0, len(wanted), 1 << 16):
            part = wanted[start : start + (1 << 16)]
            words |= zip(part, blocks([seed for seed, _ in part], [number for _, number in part]).tolist())
        lanes = (words[seed, bit // 512][bit % 512 // 32] >> bit % 32 & (1 << self.bits) - 1 for seed, bit in at)
        return [int(lane < self.threshold) for lane in lanes]


def blocks(seeds, numbers):
    """Many RFC 8439 blocks with a zero nonce: blocks x 16 words. run.py compares them with check_vectors.lane."""
    start = np.zeros((16, len(numbers)), dtype=np.uint32)
    start[:4] = np.array(struct.unpack("<4I", b"expand 32-byte k"), dtype=np.uint32)[:, None]
    start[4:12] = np.frombuffer(b"".join(seeds), dtype="<u4").reshape(-1, 8).T
    start[12] = numbers
    a, b, c, d = start.copy().reshape(4, 4, -1)

    def quarters(a, b, c, d):
        for i, j, k, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            i += j
            k ^= i
            k[:] = (k << np.uint32(turn)) | (k >> np.uint32(32 - turn))

    for _ in range(10):
        quarters(a, b, c, d)
        b, c, d = np.roll(b, -1, 0), np.roll(c, -2, 0), np.roll(d, -3, 0)
        quarters(a, b, c, d)
        b, c, d = np.roll(b, 1, 0), np.roll(c, 2, 0), np.roll(d, 3, 0)
    return (np.concatenate([a, b, c, d]) + start).T


def exponential(word):
    """-ln((2^32 - word) / 2^32), which never exceeds an Exp(1) variable."""
    return 32 * mp.ln2 - mp.log(mpf((1 << 32) - word))


def key_id(secret):
    return sha(b"taggant/1/commitment\x00", secret).hex()[:16]
