"""Pictures for a page: small enough to stand in its text, as `data:` URIs.

What is small is shown exactly, as PNG. What would be large is shown as JPEG, and at last in fewer pixels; `Shown` says so.
"""

import base64
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

_QUALITY = 88
_LONGEST = 2048  # pixels along a side, more than a screen has room for
_UNKNOWN = (128, 128, 128)  # the colour of NaN in a map
_COLOURS = 255  # of a map; the last index of a palette is `_UNKNOWN`


class Shown(NamedTuple):
    """A picture as a page shows it."""

    data: bytes
    kind: str  # PNG or JPEG
    width: int
    height: int
    is_reduced: bool  # whether it has fewer pixels than the picture

    @property
    def uri(self) -> str:
        """The picture as an address."""
        return f"data:image/{self.kind.lower()};base64,{base64.b64encode(self.data).decode()}"


def shown(image: np.ndarray, *, most_bytes: int, longest: int = _LONGEST, exact: bool = True) -> Shown:
    """Returns a picture `(H, W, C)` with its range at [0, 1]; of other than one or three channels their mean.

    Args:
      image: the picture.
      most_bytes: how large it may be.
      longest: how many pixels it may have along a side.
      exact: whether it is shown as PNG where that is not too large.
    """
    image = image if image.shape[-1] in (1, 3) else image.mean(axis=-1, keepdims=True)
    samples = np.rint(np.nan_to_num(image).clip(0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(samples[..., 0] if samples.shape[-1] == 1 else samples)
    return _fitting(picture, most_bytes, longest, ("PNG", "JPEG") if exact else ("JPEG",), Image.Resampling.BOX)


def mapped(values: np.ndarray, low: float, high: float, colours: np.ndarray, *, most_bytes: int) -> Shown:
    """Returns numbers `(H, W)` in colours `(N, 3)`, the first for `low` and the last for `high`; NaN is gray."""
    table = colours[np.linspace(0, len(colours) - 1, _COLOURS).round().astype(int)]
    shares = (values - low) / max(high - low, np.finfo(np.float32).tiny)
    indices = np.where(np.isnan(shares), _COLOURS, np.rint(np.nan_to_num(shares).clip(0, 1) * (_COLOURS - 1))).astype(np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette([*np.rint(table * 255).astype(np.uint8).ravel().tolist(), *_UNKNOWN])
    return _fitting(picture, most_bytes, _LONGEST, ("PNG",), Image.Resampling.NEAREST)  # indices have no mean


def _fitting(picture, most_bytes, longest, kinds, resampling):
    """Encodes it as the first kind that fits, and if none does, with half of the pixels along each side."""
    size = picture.size
    picture.thumbnail((longest, longest), resampling)
    while True:
        for kind in kinds:
            file = io.BytesIO()
            picture.save(file, kind, **({"quality": _QUALITY} if kind == "JPEG" else {}))
            if file.tell() <= most_bytes or max(picture.size) == 1:
                return Shown(file.getvalue(), kind, *picture.size, picture.size != size)
        picture = picture.resize([max(1, side // 2) for side in picture.size], resampling)
