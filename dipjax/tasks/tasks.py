"""The tasks: one function each, from a picture to a `Task`.

`pixels (H, W, C)` are float32 with the range of the picture at [0, 1] and NaN where nothing was measured. A parameter is annotated with an
`Argument`, which explains it and says how the command line reads it. To add a task, add a function: it appears in Python, where it also
takes all `Options`, and on the command line.
"""

from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import numpy as np

from dipjax.files.masks import grown, nearest
from dipjax.files.picture import joined
from dipjax.tasks import damage, ranges
from dipjax.tasks.door import Task, task
from dipjax.tasks.options import Argument, at_least_one, positive, whole

NOISES = ("auto", "gaussian", "poisson", "impulse", "speckle")
KERNELS = ("lanczos2", "lanczos3", "bicubic", "box")
_LEAST_CONTRAST = 1e-6
_NO_TEXTURE = 0.75  # of the finest differences of photographs and their noise, at least
_FAR = 0.9  # of the samples of a spectrum are nearer to its middle than those that tell its noise
_BRIGHTER = 1.25  # than what zeros leave of the brightest pixel, a result may be
_MOST_DAMAGE = 0.5  # of the pixels: more of it is none
BOUNDARIES = ("auto", "reflect", "circular", "valid")
_FILLED = "where the picture was filled in, white, as --mask takes it"
COLOURS, FADING = ("keep", "neutral"), ("keep", "undo")
PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")


def _from_zero(wish, pixels, noise="auto"):
    """Returns the range of a picture whose noise depends on the brightness, which counts from zero and not from what is darkest."""
    span = ranges.choose(wish, pixels)
    return replace(span, low=0.0) if span.found and span.high > 0 and noise in ("poisson", "speckle") else span


@task("denoise", words="remove noise", done="denoised", ranged=_from_zero)
def denoise(
    pixels: np.ndarray,
    noise: Annotated[
        str,
        Argument(
            "what kind: gaussian, and all that is like it; poisson, few photons; impulse, black and white pixels; speckle, in proportion to"
            " the brightness; auto tells impulses from the rest",
            "--noise",
            choices=NOISES,
        ),
    ] = "auto",
) -> Task:
    """Removes noise from a picture.

    Black and white pixels, salt and pepper, are fitted by the mean absolute error, which forgets them; photons by the square error of
    their roots, and speckle by that of logarithms, so that noise counts alike in dark and in bright parts. `loss` overrules that. Beside
    salt and pepper the other pixels stay as they are, as far as there is no other noise.

    Detail that the networks leave to the noise is put back where it repeats (`dipjax.patches`), so that they may end soon; not where the
    noise is correlated, as after a camera's own processing. `kriging="none"` leaves that out, and waits until the networks are best.

    Examples:
      >>> restored = dipjax.denoise(noisy, seeds=4)  # doctest: +SKIP
    """
    from dipjax.fitting import losses
    from dipjax.operators import problem
    from dipjax.stopping import HeldOut
    from dipjax.stopping.noise import are_impulses, impulses, may_have_impulses
    from dipjax.tasks.impulses import Others

    if noise not in NOISES:
        raise ValueError(f"noise: found {noise!r}, expected one of {', '.join(NOISES)}.")
    found = impulses(pixels) if noise == "impulse" or (noise == "auto" and may_have_impulses(pixels)) else None
    is_hit = found is not None and are_impulses(pixels, found[0])
    if noise != "impulse" and not is_hit:
        loss = {"poisson": lambda: losses.Anscombe(_gain(pixels)), "speckle": losses.Logarithm}.get(noise, lambda: None)()
        how = {"stop": "held-out", "loss": loss, "is_answer": True}
        if _is_white(pixels):
            # What is put back has the textures that the network has not: hardly anything is better by a longer wait for them.
            how |= {"noise": partial(_white, pixels), "sooner": HeldOut(gain=0.04, fit=0)}
        return Task(problem.denoising(pixels), pixels, **how)
    how, words = {"loss": losses.L1(), "is_answer": True}, "the loss is l1 unless another is asked for"
    if is_hit and (others := Others(pixels, *found)).is_told:
        how |= {"stop": "held-out", "finish": others, "finish_std": others.std}
        words += ", the others stay"
    else:  # seeds hardly ever fit impulses: late moments are good, though what was not seen is predicted worse
        how |= {"stop": HeldOut(late=4.0, patience=1.0, least=100)}
    if noise == "auto":
        how["found"] = f"there are black and white pixels, salt and pepper: {words}; --noise gaussian switches that off"
    return Task(problem.denoising(pixels), pixels, **how)


def _is_white(pixels):
    """Says whether the noise of a picture is not correlated, and the picture large enough to show patches that are alike."""
    from dipjax import patches
    from dipjax.stopping.noise import CORRELATED, of_picture

    return min(pixels.shape[:2]) >= patches.SMALLEST and float(of_picture(pixels)[0][0]) <= CORRELATED


def _white(pixels):
    """Returns the standard deviation of the white noise of a picture, infinite where it cannot be told."""
    from dipjax.stopping.noise import white_variance

    return white_variance(pixels) ** 0.5


def _gain(pixels):
    """Returns what a photon adds to a picture, to two digits, so that pictures share programs; that of 30 photons if nothing tells it."""
    from dipjax.stopping.noise import white_variance

    variance = white_variance(pixels)
    gain = variance / max(float(pixels.mean()), 1e-3)
    return float(f"{gain:.2g}") if 0 < gain < 1 else 1 / 30


@task("dejpeg", words="remove the blocks and rings of strong compression", done="cleaned")
def dejpeg(pixels: np.ndarray) -> Task:
    """Removes the blocks and rings that strong compression left in a picture.

    Examples:
      >>> restored = dipjax.dejpeg(snail)  # doctest: +SKIP
    """
    from dipjax.operators import problem

    return Task(problem.denoising(pixels), pixels, setting="dejpeg")


def _holes(pixels, mask=None, grow=0):
    """Returns where to fill in: where the mask says so, `grow` pixels around that, and where nothing is known."""
    holes = _marked(pixels, mask, grow)
    if not holes.any():
        raise ValueError("mask: found no pixel marked, and none that is NaN, expected some to fill in; True (white) marks one.")
    return holes


def _marked(pixels, mask, grow):
    mask = np.zeros(pixels.shape[:2], bool) if mask is None else np.asarray(mask)
    if mask.shape != pixels.shape[:2]:
        raise ValueError(f"mask: found shape {mask.shape}, expected {pixels.shape[:2]}, the height and width of the picture.")
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise ValueError("mask: found values other than 0 and 1, expected True (or 1) where a pixel is to be filled in.")
    if isinstance(grow, bool) or not isinstance(grow, (int, np.integer)) or not 0 <= grow <= max(pixels.shape[:2]):
        raise ValueError(f"grow: found {grow!r}, expected a whole number of pixels from 0 to {max(pixels.shape[:2])}.")
    holes, unknown = mask.astype(bool), ~np.isfinite(pixels).all(axis=-1)
    holes = grown(holes, grow) | unknown if grow else holes | unknown
    if holes.all():
        raise ValueError("mask: found every pixel marked, expected some to restore from; True (white) marks a pixel to fill in.")
    return holes


@task("inpaint", words="fill in missing pixels; the others stay as they are", done="inpainted", unknown=_holes, finds=_FILLED)
def inpaint(
    pixels: np.ndarray,
    mask: Annotated[
        np.ndarray | None,
        Argument("(H, W), True (white) where to fill in; what is NaN is filled in anyway", "--mask", read="mask", metavar="MASK"),
    ] = None,
    grow: Annotated[int, Argument("pixels around the mask that are filled in too", "--grow", parse=whole(0), metavar="PIXELS")] = 0,
) -> Task:
    """Fills in the pixels where `mask` is True, or NaN; the other pixels are returned as they were.

    Examples:
      >>> restored = dipjax.inpaint(photo, scratches)  # doctest: +SKIP
    """
    from dipjax.operators import problem

    del mask, grow  # what they mark is NaN
    known = np.isfinite(pixels).all(axis=-1)
    shown = np.where(known[..., None], pixels, 0)
    return Task(problem.inpainting(shown, known), shown, setting="inpaint", noise=partial(_noise, pixels))


def _noise(pixels):
    """Returns the standard deviation of the noise of a picture, grain apart.

    What is NaN becomes like the nearest pixel that is known: that is flat, so the differences between known ones count too, as far as they
    are not texture.
    """
    from dipjax.stopping.noise import beyond_grain, noise_deviation, white_variance

    rough = _NO_TEXTURE * noise_deviation(pixels)

    known = np.isfinite(pixels).all(axis=-1)
    if not known.all():
        pixels = nearest(pixels, known)
    variance = white_variance(pixels)
    return beyond_grain(max(variance if np.isfinite(variance) else 0, rough**2)) ** 0.5


def _damage(pixels, mask=None, grow=2, sensitivity=1.0, colour="keep", fading="keep"):
    """Returns where there is damage: as marked, or found; and `grow` pixels around that."""
    for name, value, words in (("colour", colour, COLOURS), ("fading", fading, FADING)):
        if value not in words:
            raise ValueError(f"{name}: found {value!r}, expected one of {', '.join(words)}.")
    finder = damage.Finder(sensitivity=sensitivity)
    if mask is None:
        low, high = ranges.filled(pixels)  # contrasts are those of what is left of them
        mask = finder(np.nan_to_num((pixels - low) / max(high - low, _LEAST_CONTRAST)).clip(-1, 2))
        if _marked(pixels, mask, 0).mean() > _MOST_DAMAGE:
            raise ValueError("sensitivity: found damage in most of the picture, expected a few lines; take a smaller one, or give a mask.")
    return _marked(pixels, mask, grow)


def _toned(pixels, holes, mask=None, grow=2, sensitivity=1.0, colour="keep", fading="keep"):
    """Returns the pixels without colour, and with all of the range from what is black to what is white."""
    del mask, grow, sensitivity
    if colour == "neutral" and pixels.shape[-1] == 3:
        pixels = (pixels @ np.asarray(damage.LUMINANCE, pixels.dtype))[..., None]
    if fading == "undo":
        low, high = ranges.filled(np.where(holes[..., None], np.nan, pixels))
        pixels = (pixels - low) / (high - low) if high > low else pixels
    return pixels


@task(
    "restore-photo",
    words="restore an old photograph: scratches and dust, which are found, grain, and if asked for fading",
    done="restored",
    unknown=_damage,
    finds=_FILLED,
    toned=_toned,
    shape=lambda shape, colour="keep", **others: (*shape[:2], 1 if colour == "neutral" and shape[2] == 3 else shape[2]),
    result='with its axes, one channel for colour="neutral"; after fading="undo" black is 0 and white 1',
)
def restore_photo(
    pixels: np.ndarray,
    mask: Annotated[
        np.ndarray | None,
        Argument("(H, W), True (white) where there is damage; if not given, it is looked for", "--mask", read="mask", metavar="MASK"),
    ] = None,
    grow: Annotated[int, Argument("pixels around the damage that are filled in too", "--grow", parse=whole(0), metavar="PIXELS")] = 2,
    sensitivity: Annotated[
        float, Argument("of the search: 1.5 finds more, also what is no damage, 0.8 less", "--sensitivity", parse=positive, metavar="S")
    ] = 1.0,
    colour: Annotated[str, Argument("keep, sepia too, or neutral: a gray picture", "--colour", choices=COLOURS)] = "keep",
    fading: Annotated[
        str, Argument("undo makes what is darkest black and what is lightest white, for all colours alike", "--fading", choices=FADING)
    ] = "keep",
) -> Task:
    """Restores an old photograph: fills in scratches and dust, and removes grain, as one problem.

    Lines and spots are found as `tasks.damage` says; stains, folds and tears want a mask. Look at what was found (`--found FILE`, or
    `filled` of the `Outcome`), correct it with any painting program, and give it as the mask. Of a picture that is mostly lines, such as
    a page of a book, nothing but a mask can tell which of them are scratches.

    Examples:
      >>> restored = dipjax.restore_photo(scan, fading="undo")  # doctest: +SKIP
    """
    from dipjax.operators import problem

    del grow, sensitivity, colour, fading  # what was found is NaN, and the tones are as they are to be
    known = np.isfinite(pixels).all(axis=-1)
    shown = np.where(known[..., None], pixels, 0)
    found = f"damage was {'found' if mask is None else 'marked'} on {1 - known.mean():.2%} of the pixels"
    return Task(problem.inpainting(shown, known), shown, stop="held-out", found=found, keeps_known=False)


def _larger(shape, factor=4, **others):
    from dipjax.operators.problem import enlarged

    del others
    return *(enlarged(side, factor) for side in shape[:2]), shape[2]


@task(
    "superres",
    words="enlarge",
    done=lambda factor=4, **others: f"x{factor:g}",
    shape=_larger,
    result="with its axes, those of height and width `factor` times as long",
)
def super_resolve(
    pixels: np.ndarray,
    factor: Annotated[float, Argument("times longer on each side, 1.5 too", "--factor", parse=at_least_one, metavar="N")] = 4,
    kernel: Annotated[
        str,
        Argument(
            "how it was made small: lanczos2, lanczos3, bicubic or box; in Python also a `resampling.Kernel`", "--kernel", choices=KERNELS
        ),
    ] = "lanczos2",
) -> Task:
    """Enlarges a picture `factor` times on both sides.

    Examples:
      >>> large = dipjax.super_resolve(small, 2.5)  # doctest: +SKIP
    """
    from dipjax.operators import problem, resampling
    from dipjax.stopping import HeldOut

    if isinstance(kernel, str) and kernel not in KERNELS:
        raise ValueError(f"kernel: found {kernel!r}, expected one of {', '.join(KERNELS)}.")
    kernel = getattr(resampling, kernel.upper()) if isinstance(kernel, str) else kernel
    data = problem.super_resolution(pixels, factor, kernel=kernel)
    # There is hardly any noise: a seed stops where 40 % more steps make it less than 8 % better in what it has not seen.
    rule = HeldOut(correlation=1.0, gain=0.08, patience=0.4, least=100, late=0.25, fit=0)
    return Task(
        data, _enlarged(pixels, data.shape), setting="superres" if factor <= 4 else "superres 8", stop=rule, noise=partial(_noise, pixels)
    )


def _enlarged(pixels, shape):
    from PIL import Image

    channels = [Image.fromarray(channel).resize(shape[1::-1], Image.Resampling.BICUBIC) for channel in np.moveaxis(pixels, -1, 0)]
    return np.stack([np.asarray(channel) for channel in channels], -1)


@task(
    "deblur",
    words="sharpen a picture whose blur is known, or is found",
    done="deblurred",
    finds="the blur that was found, as --psf takes it",
)
def deblur(
    pixels: np.ndarray,
    psf: Annotated[
        np.ndarray | int,
        Argument(
            "(k, l), what became of one bright point, for example from `psfs`; or a number of pixels: it is found in a square of that side"
            " around its centre of mass",
            "--psf",
            read="psf",
        ),
    ],
    boundary: Annotated[
        str,
        Argument(
            "what lies beyond the edges: reflect, circular, or valid, where nothing is assumed; auto: reflect, valid for an unknown blur",
            "--boundary",
            choices=BOUNDARIES,
        ),
    ] = "auto",
) -> Task:
    """Sharpens a picture blurred by a point spread function, a known one or one that is found.

    An unknown one is the same all over the picture, as that of a camera that moved. Its square is around its centre of mass and should
    have an odd number of pixels, not many more than it takes. The `psf` of the `Outcome` is what was found. Reference: Ren et al.,
    *Neural Blind Deconvolution Using Deep Priors*, CVPR 2020.

    Examples:
      >>> sharp = dipjax.deblur(photo, dipjax.psfs.gaussian(2.0))  # doctest: +SKIP
      >>> sharp = dipjax.deblur(photo, 15)  # doctest: +SKIP
    """
    from dipjax.generators import WithPsf
    from dipjax.operators import problem
    from dipjax.operators.checks import whole
    from dipjax.stopping.noise import noise_deviation

    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary: found {boundary!r}, expected one of {', '.join(BOUNDARIES)}.")
    is_unknown = whole(psf)
    boundary = ("reflect", "valid")[is_unknown] if boundary == "auto" else boundary
    data = problem.deblurring(pixels, psf, boundary=boundary, noise=noise_deviation(pixels) or None)
    size = (int(psf), int(psf)) if is_unknown else np.shape(psf)
    if max(np.subtract(size, pixels.shape[:2])) > 0:
        raise ValueError(f"psf: found shape {size}, expected one no larger than the picture, {pixels.shape[:2]}.")

    def with_psf(generator):
        return replace(generator, size=size) if isinstance(generator, WithPsf) else WithPsf(generator, size)

    how = {"setting": "deblur unknown", "around": with_psf} if is_unknown else {"setting": "deblur"}
    if boundary != "valid":
        return Task(data, pixels, **how)
    # Here the estimate is larger than the picture: what is returned is the part that was photographed.
    top, left = (side - 1 - side // 2 for side in size)
    rows, columns = slice(top, top + pixels.shape[0]), slice(left, left + pixels.shape[1])
    return Task(data, pixels, lambda estimate: estimate[..., rows, columns, :], **how)


@task("flash", words="remove the noise of a picture taken without flash, with the help of one with flash", done="merged")
def flash(
    pixels: np.ndarray,
    flash_image: Annotated[
        np.ndarray, Argument("the same scene from the same place, with flash; of the same size", "--flash", read="picture", metavar="FLASH")
    ],
) -> Task:
    """Removes noise from a picture taken without flash, with the help of one of the same scene and size, taken with flash.

    Examples:
      >>> restored = dipjax.flash(ambient, flashed)  # doctest: +SKIP
    """
    from dipjax.operators import problem

    guide = ranges.choose("auto", flash_image).inside(flash_image)
    return Task(problem.flash(pixels, guide), pixels, setting="flash", takes_noise=False, stop="held-out")


def _of_colours(wish, pixels, pattern="RGGB"):
    """Returns the range of a mosaic: its colours are four pictures, of which each may be much brighter than the others."""
    del pattern
    return ranges.choose(wish, _planes(pixels))


def _planes(mosaic):
    """Returns the four colours `(H / 2, W / 2, 4)` of a mosaic `(H, W, C)`, without an odd row or column; itself if nothing is left."""
    even = mosaic[: mosaic.shape[0] // 2 * 2, : mosaic.shape[1] // 2 * 2, :1]
    return np.concatenate([even[i::2, j::2] for i in (0, 1) for j in (0, 1)], -1) if even.size else mosaic


@task(
    "demosaic",
    words="find all colours of a raw picture, of which each pixel saw one",
    done="demosaiced",
    shape=lambda shape, **arguments: (*shape[:2], 3),
    ranged=_of_colours,
    image="`(H, W)`, what each pixel saw behind its filter, in proportion to the light; uint8, uint16 or float in any unit",
    result="`(H, W, 3)`",
)
def demosaic(
    pixels: np.ndarray,
    pattern: Annotated[str, Argument("the filters of two by two pixels, the upper row first", "--pattern", choices=PATTERNS)] = "RGGB",
) -> Task:
    """Finds the colours of a gray picture that was taken behind a mosaic of colour filters; the result has an axis of three channels.

    Examples:
      >>> photo = dipjax.demosaic(raw, "RGGB")  # doctest: +SKIP
    """
    from dipjax.operators import camera, instruments

    data = instruments.demosaicing(pixels, pattern)
    return Task(data, camera.bilinear(pixels, pattern), setting="demosaic", noise=lambda: _noise(_planes(pixels)))


def _turn(text):
    try:
        first, last = map(float, text.split(","))
    except ValueError:
        first = last = np.nan
    if not (np.isfinite([first, last]).all() and first != last):
        raise ValueError(f"found {text!r}, expected two different numbers of degrees FIRST,LAST")
    return first, last


@task(
    "mri",
    words="reconstruct a slice from samples of its spectrum, as magnetic resonance measures it",
    done="slice",
    shape=lambda shape, **arguments: (*shape[:2], 1),
    is_picture=False,
    is_complex=True,
    image="complex, `(H, W)`, or `(K, H, W)` of K coils; zero where nothing was sampled",
    result="`(H, W)`, not negative",
)
def mri(
    pixels: np.ndarray,
    coils: Annotated[
        np.ndarray | None,
        Argument("(K, H, W), complex, how each of K coils sees each pixel; needed for more than one", "--coils", read="complex"),
    ] = None,
) -> Task:
    """Reconstructs the magnitude of a slice from the samples of its centred spectrum that were taken, which are all that are not zero.

    Complex numbers `(H, W)`, or `(K, H, W)` of K coils; orthonormal and centred, so that `(H // 2, W // 2)` is the lowest frequency. The
    image is complex, and nobody need know its phase. The picture to compare with has zeros for what was not sampled; of several coils it
    is what a few conjugate gradients find. `instruments.non_uniform_mri` takes samples anywhere, radial ones for example.

    Examples:
      >>> piece = dipjax.mri(kspace)  # doctest: +SKIP
    """
    from dipjax.operators import instruments

    if pixels.shape[-1] % 2:
        raise ValueError(f"kspace: found {pixels.shape[-1]} channels of real numbers, expected complex ones, or as many imaginary parts.")
    kspace, maps = joined(pixels), None if coils is None else joined(coils)
    data = instruments.mri(kspace[0] if coils is None and len(kspace) == 1 else kspace, coils=maps, is_complex=True)
    before = np.hypot(*np.moveaxis(instruments.least_squares(data, 1 if coils is None else 10), -1, 0))[..., None]
    most = _BRIGHTER * float(before.max())
    half = ranges.Range(-most, most)  # of a real or an imaginary part

    def finish(estimate):
        return np.hypot(*np.moveaxis(half.outside(estimate), -1, 0))[..., None] / most

    def finish_std(std):  # that of the magnitude is one between those of the parts
        return 2 * np.sqrt(np.mean(np.square(std), -1, keepdims=True))

    data = ranges.brought(data, half)
    noise = partial(_of_spectrum, data)
    how = {"setting": "mri", "finish_std": finish_std, "own_range": ranges.Range(0.0, most), "noise": noise}
    return Task(data, (before / most).astype(np.float32), finish, **how)


def _of_spectrum(data):
    """Returns the standard deviation of the noise of the samples of a spectrum, complex, from the farthest: there is little else."""
    from dipjax.stopping.noise import beyond_grain

    samples = np.abs(np.asarray(data.measurement)[..., 0])
    height, width = samples.shape[-2:]
    radius = np.hypot(*np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij"))
    radius = np.broadcast_to(radius, samples.shape)[samples > 0]
    if not radius.size:
        return 0.0
    far = samples[samples > 0][radius >= np.quantile(radius, _FAR)]
    return beyond_grain(np.median(far**2) / np.log(2)) ** 0.5


@task(
    "ct",
    words="reconstruct a slice from its sums along rays, a sinogram (a row for each detector, a column for each view)",
    done="slice",
    shape=lambda shape, **arguments: (shape[0], shape[0], shape[2]),
    is_picture=False,
    image="the sinogram `(D, T)` of D detectors and T views, or with channels; uint8, uint16 or float in any unit",
    result="`(D, D)`, or with its channels, as much as the sums hold for each pixel",
)
def ct(
    pixels: np.ndarray,
    angles: Annotated[
        Any,
        Argument(
            "of the views, in degrees: FIRST,LAST spreads them evenly and leaves LAST out, so that 0,180 with 12 views means 0, 15, ...,"
            " 165; in Python also an array (T,)",
            "--angles",
            parse=_turn,
            metavar="FIRST,LAST",
        ),
    ] = (0.0, 180.0),
    distance: Annotated[
        float | None,
        Argument("from the source of a fan to the centre, in pixels; if not given, beams are parallel", "--distance", parse=positive),
    ] = None,
) -> Task:
    """Reconstructs a slice from few views: `(D, T)` sums along rays, as `skimage.transform.radon` makes them, become `(D, D)` pixels.

    The picture to compare with is what a few conjugate gradients find. Sums of counted photons are `radon.line_integrals`; for few
    photons take `instruments.tomography(counts, photons=...)` and `losses.Poisson`.

    Examples:
      >>> piece = dipjax.ct(sinogram, angles)  # doctest: +SKIP
    """
    from dipjax.operators import checks, instruments

    ends = checks.numbers("angles", angles)
    if ends.shape == (2,) and (isinstance(angles, tuple) or pixels.shape[1] != 2):  # of an array of two for two views, the views
        angles = np.linspace(*ends, pixels.shape[1], endpoint=False)
    data = instruments.tomography(pixels, angles, distance=np.inf if distance is None else distance)
    return Task(data, instruments.least_squares(data), setting="ct")
