"""What time has done to a photograph, found by classical means: scratches, and dust.

A scratch is a line, brighter or darker than both of its sides, much longer than wide, and far from the tones around it. So are some
things in pictures: whiskers, wires, letters, stripes. How often they are taken for scratches is in benchmarks/results/photographs.md.
"""

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np

LUMINANCE = (0.2125, 0.7154, 0.0721)  # of red, green and blue, as in scikit-image
_TURNS = 16  # directions in which lines are looked for
_SMOOTHED, _STRAIGHT = 11, 13  # pixels along a line: over which grain is averaged, and for how long it must go straight on
_AROUND, _TONES = 41, 31  # sides of the squares that are compared with: of lines, and of tones
_FLOOR = 0.012  # of the range: what lines are added to, so that faint ones on even ground are none
_LINE = 2.5  # times the lines around, of the weaker of both signs, which texture has like the stronger one
_APART, _FARTHER, _FAR = 1.2, 2.2, 1.3  # standard deviations of tones: of each pixel, of the line, and with all lines among the tones
_FAINT = 0.06  # of the range, fainter than which a line may be missed
_SPOT = 6.5  # times what is as narrow around it
_TILE, _MARGIN = 512, 64  # pixels, so that a large scan fits the memory


@dataclass(frozen=True)
class Finder:
    """Finds scratches and dust in a picture; large stains, folds and tears it does not find.

    Lines are looked for in sixteen directions: what a closing or opening across the line takes away, where grain was averaged along
    it, and only as far as it goes on straight. They are joined in space and direction at once, so that a scratch that crosses a texture
    remains a line of its own. A line must be long, stronger than the lines around it, and of another tone than what is around it.

    Attributes:
      width: pixels, of the widest scratch, from 1; dust is at most as large.
      length: pixels, of the shortest, from 1; None: a sixth of the picture's side, from 20 to 40.
      sensitivity: positive; a greater one finds more, also what is no damage.

    Raises:
      ValueError: a number is out of its range.

    Examples:
      >>> from dipjax.tasks.damage import Finder
      >>> pixels = np.random.default_rng(0).normal(0.5, 0.01, (64, 64, 1)).astype(np.float32)
      >>> pixels[:, 30:32] += 0.3
      >>> found = Finder(width=5)(pixels)
      >>> bool(found[:, 30:32].mean() > 0.9), bool(found.mean() < 0.1)
      (True, True)
    """

    width: int = 7
    length: int | None = None
    sensitivity: float = 1.0

    def __post_init__(self):
        """Checks the settings."""
        for name, least in (("width", 1), ("length", 1)):
            value = getattr(self, name)
            if name == "length" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise ValueError(f"{name}: found {value!r}, expected a whole number of pixels, at least {least}.")
        value = self.sensitivity
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real) or not 0 < value < math.inf:
            raise ValueError(f"sensitivity: found {value!r}, expected a positive number.")

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Returns where there is damage, `(H, W)` bool, in a picture `(H, W, C)` in [0, 1] without NaN.

        Raises:
          ValueError: the pixels are none.
        """
        pixels = np.asarray(pixels)
        if pixels.ndim != 3 or pixels.size == 0 or not np.isfinite(pixels).all():
            raise ValueError(f"pixels: found shape {pixels.shape}, or NaN among them, expected a picture (H, W, C) of finite numbers.")
        length = self.length or min(max(round(math.sqrt(pixels.shape[0] * pixels.shape[1]) / 6), 20), 40)
        weights = LUMINANCE if pixels.shape[-1] == 3 else np.full(pixels.shape[-1], 1 / pixels.shape[-1])
        light = (pixels @ np.asarray(weights)).astype(np.float32)
        found = np.zeros(light.shape, bool)
        for top in range(0, light.shape[0], _TILE):
            for left in range(0, light.shape[1], _TILE):
                inner = np.s_[top : top + _TILE, left : left + _TILE]
                rows, columns = (slice(max(0, at.start - _MARGIN), at.stop + _MARGIN) for at in inner)
                part = self._lines(light[rows, columns], length) | self._spots(light[rows, columns])
                found[inner] = part[top - rows.start :, left - columns.start :][:_TILE, :_TILE]
        return found

    def _lines(self, light, length):
        from scipy.ndimage import uniform_filter

        lines = _lines(light, self.width)
        strongest = lines.max(axis=1)
        lines /= uniform_filter(strongest.min(axis=0), _AROUND) + _FLOOR
        wanted = _LINE / self.sensitivity
        ground = (lines.max(axis=(0, 1)) < wanted) + np.float32(0.02)  # a little of everything, where there are lines everywhere
        apart, with_lines = _tones(light, ground), _tones(light, np.ones_like(light))
        found = np.zeros(light.shape, bool)
        for sign, of_sign, strength in zip((1, -1), lines, strongest, strict=True):
            labels, number = _joined((of_sign > wanted) & (sign * apart > _APART / self.sensitivity))
            if number:
                faint = _mean(labels, number, strength) < _FAINT / self.sensitivity
                near = _mean(labels, number, sign * apart) < _FARTHER / self.sensitivity
                near |= _mean(labels, number, sign * with_lines) < _FAR / self.sensitivity
                good = ~(faint | near) & (_extent(labels, number) >= length)
                found |= np.r_[False, good][labels].any(axis=0)
        return found

    def _spots(self, light):
        from scipy.ndimage import gaussian_filter, label, maximum, uniform_filter
        from skimage.morphology import disk, opening

        light, found = gaussian_filter(light, 0.7), np.zeros(light.shape, bool)
        for sign in (1, -1):
            narrow = sign * light - opening(sign * light, disk(self.width // 2 + 1))
            around = uniform_filter(narrow, _AROUND)
            spots, number = label(narrow > _SPOT / 2 / self.sensitivity * (around + _FLOOR))
            if number:
                good = maximum(narrow / (around + _FLOOR), spots, np.arange(1, number + 1)) > _SPOT / self.sensitivity
                extent = _extent(spots[None], number)
                found |= np.r_[False, good & (extent <= 2 * self.width)][spots]
        return found


def _steps(length, angle):
    """Returns the pixels `(y, x)` of a line through the origin."""
    along = np.linspace(-(length - 1) / 2, (length - 1) / 2, 4 * length)
    return sorted({(round(step * math.sin(angle)), round(step * math.cos(angle))) for step in along.tolist()})


def _over(picture, steps, combine):
    """Combines a picture with itself, moved by every one of the steps: much faster than filters of any footprint."""
    margin, (height, width) = max(max(map(abs, step)) for step in steps), picture.shape
    padded, made = np.pad(picture, margin, mode="edge"), None
    for down, right in steps:
        moved = padded[margin + down :, margin + right :][:height, :width]
        made = moved.copy() if made is None else combine(made, moved, out=made)
    return made


def _opened(picture, steps):
    return _over(_over(picture, steps, np.minimum), steps, np.maximum)


def _lines(light, width):
    """Returns how strong light and dark lines are in every direction, `(2, _TURNS, H, W)`."""
    made = np.empty((2, _TURNS, *light.shape), np.float32)
    for turn, angle in enumerate(np.arange(_TURNS) * math.pi / _TURNS):
        along, across, straight = _steps(_SMOOTHED, angle), _steps(width + 4, angle + math.pi / 2), _steps(_STRAIGHT, angle)
        smooth = _over(light, along, np.add) / len(along)
        for number, signed in enumerate((smooth, -smooth)):
            made[number, turn] = _opened(signed - _opened(signed, across), straight)
    return made


def _tones(light, weights):
    """Returns how far every pixel is from the weighted mean around it, in standard deviations."""
    from scipy.ndimage import uniform_filter

    total = uniform_filter(weights, _TONES)
    mean = uniform_filter(weights * light, _TONES) / total
    variance = uniform_filter(weights * light**2, _TONES) / total - mean**2
    return (light - mean) / (np.sqrt(np.maximum(variance, 0)) + 0.02)


def _joined(marks):
    """Returns labels `(_TURNS, H, W)` of what hangs together in space and in direction, whose last is beside its first, and how many."""
    from scipy.ndimage import label
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    labels, number = label(marks, np.ones((3, 3, 3)))
    first, last = labels[0], labels[-1]
    both = (first > 0) & (last > 0)
    pairs = np.stack([first[both], last[both]])
    number_of_groups, groups = connected_components(coo_array((np.ones(pairs.shape[1]), pairs), shape=(number + 1,) * 2), directed=False)
    return groups[labels], number_of_groups - 1


def _mean(labels, number, values):
    """Returns the mean of values `(H, W)` over every label."""
    places = np.nonzero(labels)
    ours = labels[places]
    sums = np.bincount(ours, np.broadcast_to(values, labels.shape)[places], number + 1)
    return (sums / np.maximum(np.bincount(ours, minlength=number + 1), 1))[1:]


def _extent(labels, number):
    """Returns how far every label reaches, corner to corner, in pixels."""
    from scipy.ndimage import find_objects

    boxes = find_objects(labels, number)
    return np.array([math.hypot(*(at.stop - at.start for at in box[-2:])) for box in boxes])
