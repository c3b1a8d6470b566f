"""Specs, and what a key makes of a (window, token).

HKDF-Expand, the HMAC seed and the ChaCha20 lanes come from tests/check_vectors.py; what a scheme does with a lane is
written here, from the definition of taggant/1: green when lane < threshold; Gumbel X = -ln((c + 1) / 2^32) with
c = 2^32 - 1 - word.
"""

import pathlib
import sys
from dataclasses import dataclass
from fractions import Fraction

from mpmath import mp, mpf

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from check_vectors import expand, lane, seed_of, sha

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

    def keys(self, secret, epoch):
        """The scheme key of an epoch, or the keys of both arms."""
        label, epoch_key = self.text.partition("+")[0], expand(secret, EPOCH + epoch)
        labels = [label] if self.arms == 1 else [f"{label}/arm/{arm}" for arm in range(self.arms)]
        return [expand(epoch_key, label) for label in labels]

    def draw(self, key, window, token, seeds={}):
        """X: 0 or 1 for green; -ln((c + 1) / 2^32) as mpf for Gumbel."""
        at = (key, window)
        if at not in seeds:
            seeds[at] = seed_of(key, window)
        found = lane(seeds[at], self.bits, token)
        return int(found < self.threshold) if self.scheme == "green" else exponential(found)


def exponential(word):
    """-ln((2^32 - word) / 2^32), which never exceeds an Exp(1) variable."""
    return 32 * mp.ln2 - mp.log(mpf((1 << 32) - word))


def key_id(secret):
    return sha(b"taggant/1/commitment\x00", secret).hex()[:16]
