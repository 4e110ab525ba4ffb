"""For people in a hurry: NumPy in, NumPy out, in the words of scikit-image.

Every function takes a picture as uint8, uint16 or float in [0, 1], of shape (H, W) or with a channel axis, and returns float32 in
[0, 1] of the same layout: the mean over `seeds` restorations, which differ in their random start. Options shared by all:

* `seeds`: how many restorations are averaged; more is better and takes proportionally longer.
* `num_iter`: steps of each; None takes the recipe's, for noise with the fast one those of `recipes.denoising_steps`.
* `recipe`: a function from `recipes`, or a `Recipe`; None takes the fast one on a CPU and the paper's on an accelerator.
* `channel_axis`: the axis of the channels; a picture (H, W) has none.
* `rng`: an integer or a `jax.random.key`; the same value gives the same result on the same machine.
* `batching`: a layout from `batching`; None takes the fastest for this machine.
* `tile`: side in pixels of the tiles that a large picture is split into; None where they are needed for memory, 0 never. See `tiling`.
* `callback`: called with the `train.Result` so far about twice a second; returning True ends the work.
* `return_result`: also return the `train.Result` with each seed's image, the standard deviation and the curves.

All raise a ValueError that says what to do for pictures that are not valid, and a RuntimeError if every seed diverged.
"""

import dataclasses

import jax
import numpy as np

from dipjax.core import loop as train
from dipjax.files import images
from dipjax.large import tiling
from dipjax.operators import problem, resampling
from dipjax.recipes import fast as recipes


def denoise(
    image,
    *,
    seeds=4,
    num_iter=None,
    recipe=None,
    channel_axis=-1,
    rng=0,
    batching=None,
    tile=None,
    callback=None,
    return_result=False,
):
    """Removes noise from a picture.

    Example:
      >>> restored = dipjax.denoise(noisy, seeds=4)  # doctest: +SKIP
    """
    pixels, restore_layout = images.to_unit(image, channel_axis=channel_axis)
    return _restore(
        "denoise",
        problem.denoising(pixels),
        restore_layout,
        seeds,
        num_iter,
        recipe,
        rng,
        batching,
        tile,
        callback,
        return_result,
    )


def dejpeg(
    image,
    *,
    seeds=4,
    num_iter=None,
    recipe=None,
    channel_axis=-1,
    rng=0,
    batching=None,
    tile=None,
    callback=None,
    return_result=False,
):
    """Removes the blocks and rings that strong compression left in a picture.

    Example:
      >>> restored = dipjax.dejpeg(snail)  # doctest: +SKIP
    """
    pixels, restore_layout = images.to_unit(image, channel_axis=channel_axis)
    return _restore(
        "dejpeg",
        problem.denoising(pixels),
        restore_layout,
        seeds,
        num_iter,
        recipe,
        rng,
        batching,
        tile,
        callback,
        return_result,
    )


def inpaint(
    image,
    mask,
    *,
    seeds=4,
    num_iter=None,
    recipe=None,
    channel_axis=-1,
    rng=0,
    batching=None,
    tile=None,
    callback=None,
    return_result=False,
):
    """Fills in the pixels where `mask` (H, W) is True; the other pixels are returned as they were.

    Example:
      >>> restored = dipjax.inpaint(photo, scratches)  # doctest: +SKIP
    """
    pixels, restore_layout = images.to_unit(image, channel_axis=channel_axis)
    mask = np.asarray(mask)
    if mask.shape != pixels.shape[:2]:
        raise ValueError(f"mask: found shape {mask.shape}, expected {pixels.shape[:2]}, the height and width of the picture.")
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise ValueError("mask: found values other than 0 and 1, expected True (or 1) where a pixel is to be filled in.")
    if mask.all():
        raise ValueError("mask: found every pixel masked, expected some to restore from; True marks a pixel to fill in.")
    known = ~mask.astype(bool)
    task = problem.inpainting(pixels, known)

    def paste(restored):
        return restore_layout(np.where(known[..., None], pixels, restored))

    return _restore("inpaint", task, paste, seeds, num_iter, recipe, rng, batching, tile, callback, return_result)


def super_resolve(
    image,
    factor,
    *,
    kernel=resampling.LANCZOS2,
    seeds=4,
    num_iter=None,
    recipe=None,
    channel_axis=-1,
    rng=0,
    batching=None,
    tile=None,
    callback=None,
    return_result=False,
):
    """Enlarges a picture `factor` times on both sides.

    `kernel` says how the small picture came about: `resampling.LANCZOS2`, `LANCZOS3`, `BICUBIC` or `BOX`.

    Example:
      >>> large = dipjax.super_resolve(small, 4)  # doctest: +SKIP
    """
    pixels, restore_layout = images.to_unit(image, channel_axis=channel_axis)
    task = problem.super_resolution(pixels, factor, kernel=kernel)
    return _restore("superres", task, restore_layout, seeds, num_iter, recipe, rng, batching, tile, callback, return_result)


def deblur(
    image,
    psf,
    *,
    boundary="reflect",
    seeds=4,
    num_iter=None,
    recipe=None,
    channel_axis=-1,
    rng=0,
    batching=None,
    tile=None,
    callback=None,
    return_result=False,
):
    """Sharpens a picture blurred by a known point spread function `psf (k, l)`, for example from `psfs`.

    `boundary` is "reflect", "circular" or "valid", see `operators.Blur`; "valid" returns a larger picture.

    Example:
      >>> sharp = dipjax.deblur(photo, dipjax.psfs.gaussian(2.0))  # doctest: +SKIP
    """
    pixels, restore_layout = images.to_unit(image, channel_axis=channel_axis)
    task = problem.deblurring(pixels, psf, boundary=boundary)
    return _restore("deblur", task, restore_layout, seeds, num_iter, recipe, rng, batching, tile, callback, return_result)


def flash(
    image,
    flash_image,
    *,
    seeds=4,
    num_iter=None,
    recipe=None,
    channel_axis=-1,
    rng=0,
    batching=None,
    tile=None,
    callback=None,
    return_result=False,
):
    """Removes noise from a picture taken without flash, with the help of `flash_image` of the same scene and size.

    Example:
      >>> restored = dipjax.flash(ambient, flashed)  # doctest: +SKIP
    """
    pixels, restore_layout = images.to_unit(image, channel_axis=channel_axis)
    guide, _ = images.to_unit(flash_image, channel_axis=channel_axis)
    task = problem.flash(pixels, guide)
    return _restore("flash", task, restore_layout, seeds, num_iter, recipe, rng, batching, tile, callback, return_result)


def _restore(task, data, finish, seeds, num_iter, recipe, rng, batching, tile, callback, return_result):
    if not (isinstance(seeds, (int, np.integer)) and seeds >= 1):
        raise ValueError(f"seeds: found {seeds!r}, expected a whole number of at least 1.")
    if num_iter is not None and not (isinstance(num_iter, (int, np.integer)) and num_iter >= 1):
        raise ValueError(f"num_iter: found {num_iter!r}, expected a whole number of at least 1.")
    if tile is not None and not (isinstance(tile, (int, np.integer)) and tile >= 0):
        raise ValueError(f"tile: found {tile!r}, expected None or a whole number of at least 0.")
    is_key = isinstance(rng, jax.Array) and rng.shape == () and jax.numpy.issubdtype(rng.dtype, jax.dtypes.prng_key)
    if not (is_key or isinstance(rng, (int, np.integer))):
        raise ValueError(f"rng: found {rng!r}, expected an integer or one key from `jax.random.key`.")
    steps = {} if num_iter is None else {"num_steps": int(num_iter)}
    if isinstance(recipe, train.Recipe):
        make = lambda channels, **settings: dataclasses.replace(recipe, **settings)  # noqa: E731
    else:
        make = recipe or recipes.choose(task, factor=data.shape[0] // data.measurement.shape[0])
    grid = tiling.plan(make(data.shape[-1], **steps), data, seeds, tile=tile, batching=batching).grid
    # A tile is a picture of its own; what tiles need of memory does not depend on the number of steps.
    size = grid.tile if grid else data.shape[:2]
    method = make(data.shape[-1], **(recipes.for_size(make, *size) | steps))
    for result in tiling.iterate(method, train.seeds(rng, seeds), data, grid, batching=batching):
        if callback and callback(result):
            break
    if not bool(result.alive.any()):
        raise RuntimeError(f"all {seeds} seeds diverged; try a smaller learning rate or another rng.")
    restored = finish(np.asarray(result.image).clip(0, 1))
    return (restored, result) if return_result else restored
