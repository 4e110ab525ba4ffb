"""What was done to a picture, as far as its noise tells: of which kind it is and how strong; and whether two of them are alike."""

from typing import NamedTuple

import numpy as np

from dipjax.stopping.noise import CORRELATED, FAR, has_impulses, noise_deviation, of_picture

KINDS = {"white": "independent from pixel to pixel", "correlated": "alike in neighbouring pixels", "impulse": "black and white pixels"}
_SMALLEST, _LARGEST = 32, 256  # pixels on a side: less says nothing of neighbours; of more the middle is looked at
_ROOM = 96  # pixels on a side: in less, the least noisy patches are too few to tell the noise; at 64 it came out a fifth too weak
_DOUBTFUL, _TOO_FAR = 1.25, 2.0  # times the strength that was learned: beyond the first it is worse, beyond the second of no use
_OTHER = 0.7  # in the power of brightness: about 0 for noise of one strength, 1 for that of photons; a single picture may mislead


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
        unit = " of the pixels" if self.kind == "impulse" else ""
        both = f"{self.least:.3g}" if f"{self.least:.3g}" == f"{self.most:.3g}" else f"{self.least:.3g} to {self.most:.3g}"
        return f"{self.kind} noise ({KINDS[self.kind]}) of {both}{unit}"


def estimate(picture: np.ndarray) -> Degradation:
    """Finds the kind and the strength of the noise of a picture `(H, W, C)`, in the range where white is 1."""
    top, left = (max(0, side - _LARGEST) // 2 for side in picture.shape[:2])
    picture = np.asarray(picture, np.float32)[top:, left:][:_LARGEST, :_LARGEST]
    if has_impulses(picture):
        share = float(np.mean((picture <= picture.min()) | (picture >= picture.max())))
        return Degradation("impulse", share, share)
    sigma = noise_deviation(picture)
    if min(picture.shape[:2]) < _SMALLEST:
        return Degradation("white", sigma, sigma)
    (one, two), (variance, exponent) = (map(float, pair) for pair in of_picture(picture))
    if one > CORRELATED or two > FAR + CORRELATED:
        return Degradation("correlated", sigma, sigma)
    if min(picture.shape[:2]) < _ROOM or not np.isfinite(variance):  # or too much of it is clipped
        return Degradation("white", sigma, sigma)
    return Degradation("white", variance**0.5, variance**0.5, exponent)


def together(found: list[Degradation]) -> Degradation:
    """Returns that of several pictures.

    Raises:
      ValueError: they are of several kinds.
    """
    kinds = [one.kind for one in found]
    if len(set(kinds)) > 1:
        counts = " and ".join(f"{kinds.count(kind)} with {kind} noise" for kind in dict.fromkeys(kinds))
        raise ValueError(f"pictures: found {counts}, expected one kind of noise in all; make a network for each kind.")
    exponents = [one.exponent for one in found if one.exponent is not None]
    exponent = float(np.median(exponents)) if exponents else None
    return Degradation(kinds[0], min(one.least for one in found), max(one.most for one in found), exponent)


def compare(found: Degradation, learned: Degradation) -> tuple[bool, str]:
    """Says how a picture fits what a network was made for: whether it can be used at all, and what is doubtful, empty if nothing is."""
    if found.kind != learned.kind:
        return False, f"the picture has {found}, but the network was made for {learned}"
    weaker, stronger = learned.least / max(found.least, 1e-9), found.most / max(learned.most, 1e-9)
    if max(weaker, stronger) > _DOUBTFUL:
        word = "weaker" if weaker > stronger else "stronger"
        return max(weaker, stronger) <= _TOO_FAR, f"the picture has {found}, {word} than the {learned} that the network was made for"
    if None not in (found.exponent, learned.exponent) and abs(found.exponent - learned.exponent) > _OTHER:
        word = "more" if found.exponent > learned.exponent else "less"
        return True, f"the noise of the picture grows {word} with brightness than that which the network was made for"
    return True, ""
