"""What was done to a picture, as far as its noise tells: of which kind it is and how strong; and whether two of them are alike.

The strength is measured in one way whatever the kind, by `stopping.noise.white_noise`, where the picture varies least. Fine textures under
weak noise look like noise that is a little correlated, so there is a kind for what cannot be told; it refuses nothing.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np

from dipjax.stopping.noise import CORRELATED, FAR, has_impulses, noise_deviation, of_picture

UNKNOWN, _IMPULSE = "unknown", "impulse"
KINDS = {
    "white": "independent from pixel to pixel",
    "correlated": "alike in neighbouring pixels",
    _IMPULSE: "black and white pixels",
    UNKNOWN: "of a kind that cannot be told",
}
_SMALLEST, _LARGEST = 32, 256  # pixels on a side: less says nothing of neighbours; of more the middle is looked at
_SURELY = 0.45  # correlation of neighbours: from here on no texture; lawns and gravel under noise of 0.01 come to 0.45
_DOUBTFUL, _TOO_FAR = 1.25, 2.0  # times the strength that was learned: beyond the first it is worse, beyond the second of no use
_OTHER = 0.7  # in the power of brightness: about 0 for noise of one strength, 1 for that of photons; a single picture may mislead
_CLEAR = 2 / 3  # of the pictures of which the kind can be told: so many must have the same


class Degradation(NamedTuple):
    """The noise of one picture, or of several.

    Attributes:
      kind: one of `KINDS`.
      least: standard deviation of the noise, where white is 1, of the picture with the least; of impulses the share of the pixels.
      most: the same of the picture with the most.
      exponent: of the brightness, to a power of which the variance of white noise is proportional; None: not known.
    """

    kind: str
    least: float
    most: float
    exponent: float | None = None

    def __str__(self) -> str:
        """Says it for people."""
        unit = " of the pixels" if self.kind == _IMPULSE else ""
        both = f"{self.least:.3g}" if f"{self.least:.3g}" == f"{self.most:.3g}" else f"{self.least:.3g} to {self.most:.3g}"
        return f"{self.kind} noise ({KINDS[self.kind]}) of {both}{unit}"


def estimate(picture: np.ndarray) -> Degradation:
    """Finds the kind and the strength of the noise of a picture `(H, W, C)`, in the range where white is 1."""
    top, left = (max(0, side - _LARGEST) // 2 for side in picture.shape[:2])
    picture = np.asarray(picture, np.float32)[top:, left:][:_LARGEST, :_LARGEST]
    if has_impulses(picture):
        share = float(np.mean((picture <= picture.min()) | (picture >= picture.max())))
        return Degradation(_IMPULSE, share, share)
    if min(picture.shape[:2]) < _SMALLEST:
        return Degradation(UNKNOWN, *[noise_deviation(picture)] * 2)
    (one, two), (variance, exponent) = (map(float, pair) for pair in of_picture(picture))
    alike = max(one, two - FAR)
    kind = "correlated" if alike > _SURELY else UNKNOWN if alike > CORRELATED else "white"
    if not np.isfinite(variance):  # too much of it is clipped
        return Degradation(kind, *[noise_deviation(picture)] * 2)
    return Degradation(kind, *[variance**0.5] * 2, exponent if kind == "white" else None)


def agree(found: list[Degradation]) -> tuple[bool, str]:
    """Says whether several pictures can be learned from together, and of which kinds they are, empty if of one.

    They can where at least two thirds of those whose kind can be told are of one, and none, or all, have impulses.
    """
    kinds = Counter(one.kind for one in found)
    if len(kinds) == 1:
        return True, ""
    told = [number for kind, number in kinds.items() if kind != UNKNOWN]
    counts = " and ".join(f"{number} with {kind} noise" for kind, number in kinds.most_common())
    return _IMPULSE not in kinds and max(told) >= _CLEAR * sum(told), counts


def together(found: list[Degradation]) -> Degradation:
    """Returns that of several pictures: of the kind that most of them have, as far as it can be told."""
    kinds = Counter(one.kind for one in found if one.kind != UNKNOWN) or {UNKNOWN: len(found)}
    kind = max(kinds, key=kinds.get)
    alike = [one for one in found if one.kind == kind]
    exponents = [one.exponent for one in alike if one.exponent is not None]
    exponent = float(np.median(exponents)) if exponents else None
    return Degradation(kind, min(one.least for one in alike), max(one.most for one in alike), exponent)


def compare(found: Degradation, learned: Degradation) -> tuple[bool, str]:
    """Says how a picture fits what a network was made for: whether it can be used at all, and what is doubtful, empty if nothing is."""
    kinds = {found.kind, learned.kind}
    if len(kinds) > 1 and (UNKNOWN not in kinds or _IMPULSE in kinds):
        return False, f"the picture has {found}, but the network was made for {learned}"
    weaker, stronger = learned.least / max(found.least, 1e-9), found.most / max(learned.most, 1e-9)
    if max(weaker, stronger) > _DOUBTFUL:
        word, fits = "weaker" if weaker > stronger else "stronger", found.kind == UNKNOWN or max(weaker, stronger) <= _TOO_FAR
        return fits, f"the picture has {found}, {word} than the {learned} that the network was made for"
    if None not in (found.exponent, learned.exponent) and abs(found.exponent - learned.exponent) > _OTHER:
        word = "more" if found.exponent > learned.exponent else "less"
        return True, f"the noise of the picture grows {word} with brightness than that which the network was made for"
    return True, f"the picture has {found}, and the network was made for {learned}" * (len(kinds) > 1)
