"""The restoration commands: from a file to a file.

A task is one function `(pixels, truth, options) -> Task` in the second half of this file. To add one, add it to `_TASKS` and give
it a parser in `cli`. Everything that can be wrong is found before the long computation; JAX is imported after the files are read.
"""

import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dipjax.app import progress, report, startup
from dipjax.files import images
from dipjax.files.images import ImageError, OutputError

_MOST_PIXELS = 64_000_000  # in a result; as many as `images.load` reads


class Diverged(RuntimeError):
    """Says that no seed is left."""


class Task(NamedTuple):
    """What makes one task differ from another."""

    problem: Any
    finish: Callable[[np.ndarray], np.ndarray]  # an estimate (H, W, C) -> the result (H', W', C) that is written, in [0, 1]
    before: np.ndarray  # (H', W', C), the input at the size of the result, for comparison


def restore(options: Namespace) -> report.Report:
    """Runs one command; what can be wrong raises an `ImageError`, a `ValueError`, an `OutputError` or `Diverged`."""
    picture = images.load(options.input)
    for note in picture.notes:
        _note(f"{options.input}: {note}")
    factor = options.factor if options.task == "superres" else 1
    output = Path(options.output or images.default_output(options.input, _word(options)))
    _check_outputs(output, picture, factor, options)
    height, width, num_channels = picture.pixels.shape
    if height * width * factor**2 > _MOST_PIXELS:
        raise ImageError(f"the result would have more than {_MOST_PIXELS:,} pixels; take a smaller factor or picture")
    if note := startup.use_cache(options.compilation_cache):
        _note(note)
    truth = _load_reference(options.reference, (height * factor, width * factor, num_channels))
    task = _TASKS[options.task](picture.pixels, truth, options)
    layout = _layout(options)
    grid = _grid(_recipe(task.problem.shape, options)[0], task, layout, options)
    # A tile is a picture of its own; what tiles need of memory does not depend on the number of steps.
    size = grid.tile if grid else task.problem.shape[:2]
    method, method_name = _recipe((*size, num_channels), options)
    followed = _follow(method, task, truth, layout, grid, options)
    snapshot = followed.snapshot
    if snapshot is None:
        _note("nothing is written, because not one step was finished")
        raise KeyboardInterrupt(followed.exit_code)
    if not snapshot.alive.any():
        raise Diverged(f"all {options.seeds} seeds diverged, so nothing was written; try another --rng or --recipe")
    restored, each = task.finish(snapshot.image), task.finish(snapshot.images)
    result = report.Report(options, output, task.before, restored, each, truth, method, method_name, grid, followed)
    _write(result, picture)
    return result


def _recipe(shape, options):
    """Returns the recipe for a picture or a tile of `shape (H, W, C)`, and the name of the function that made it."""
    from dipjax.fitting import optimizers
    from dipjax.generators import registry as named
    from dipjax.recipes import fast as recipes

    schedules = {"constant": optimizers.constant, "cosine": optimizers.cosine}
    settings = {"num_steps": options.steps, "schedule": schedules.get(options.schedule)}
    chosen = {name: value for name, value in settings.items() if value is not None}
    if options.generator:
        try:
            generator = named.make(options.generator, shape[-1], options.option)
        except ValueError as error:
            options.parser.error(str(error))
        return recipes.for_generator(generator, **chosen), f"for_generator({options.generator})"
    make_recipe = recipes.choose(options.task, options.recipe, factor=getattr(options, "factor", 1))
    return make_recipe(shape[-1], **(recipes.for_size(make_recipe, *shape[:2]) | chosen)), make_recipe.__name__


def _layout(options):
    import jax

    from dipjax.core import layouts as batching

    return {"auto": None, "vmap": batching.spread(jax.vmap), "map": batching.spread(batching.one_by_one)}[options.batching]


def _grid(method, task, layout, options):
    from dipjax.large import tiling

    settings = {"tile": options.tile, "overlap": options.tile_overlap, "batching": layout}
    grid, reason = tiling.plan(method, task.problem, options.seeds, **settings)
    if grid:
        _note(f"in {grid}{f', because {reason}' if reason else ''}")
    return grid


def _follow(method, task, truth, layout, grid, options):
    from dipjax.core import loop as train
    from dipjax.large import tiling

    keys = train.seeds(options.rng, options.seeds)
    results = tiling.iterate(method, keys, task.problem, grid, batching=layout, budget=options.budget)
    score = None if truth is None else lambda estimate: report.psnr(task.finish(estimate), truth)
    num_tiles = len(grid.parts) if grid else 1
    return progress.follow(results, num_tiles * method.num_steps, budget=options.budget, score=score)


def _write(result, picture):
    options = result.options
    try:
        images.save(result.output, result.restored, picture, force=options.force)
    except OutputError as error:  # hours of work must not be lost because a disk is full
        rescue = Path(tempfile.mkdtemp(prefix="dipjax-")) / result.output.name
        try:
            images.save(rescue, result.restored, picture)
        except OutputError:
            raise error from None
        raise OutputError(f"{error}; the picture is in {str(rescue)!r} instead") from error
    print(f"wrote {result.output}", flush=True)
    for path, make in ((options.json, report.record), (options.curve, report.curve), (options.plot, _figure)):
        if path:
            images.write(path, make(result), force=options.force)
            print(f"wrote {path}", flush=True)
    for line in report.summary(result):
        print(line, flush=True)


def _figure(result):
    from dipjax.app.figure import figure  # imports matplotlib

    return figure(result)


def _check_outputs(output, picture, factor, options):
    images.check_writable(output, picture, factor=factor, force=options.force)
    others = [Path(path) for path in (options.json, options.plot, options.curve) if path]
    for path in others:
        images.check_free(path, force=options.force)
    if options.plot and Path(options.plot).suffix.lower() not in report.FIGURE_SUFFIXES:
        raise OutputError(f"cannot write {options.plot!r}: use one of the suffixes {', '.join(report.FIGURE_SUFFIXES)}")
    if len({path.resolve() for path in (output, *others)}) <= len(others):
        raise OutputError("two outputs have the same name; give each its own")
    inputs = [options.reference, getattr(options, "mask", None), getattr(options, "psf", None), getattr(options, "flash", None)]
    inputs = {Path(path).resolve() for path in inputs if path}
    # To replace the input itself by the result is a wish that --force may express, the rest is a slip.
    if inputs & {output.resolve()} or (inputs | {Path(options.input).resolve()}) & {path.resolve() for path in others}:
        raise OutputError("an output would replace a file that is read; give it another name")


def _load_reference(path, shape):
    if path is None:
        return None
    truth = images.load(path).pixels
    if truth.shape != shape:
        sizes = [f"{width} x {height} pixels with {channels} channels" for height, width, channels in (truth.shape, shape)]
        raise ImageError(f"the reference {path!r} has {sizes[0]} but the result will have {sizes[1]}")
    return truth


def _note(sentence):
    print(f"dipjax: note: {sentence}", file=sys.stderr)


def _word(options):
    words = {"denoise": "denoised", "inpaint": "inpainted", "deblur": "deblurred", "dejpeg": "cleaned", "flash": "merged"}
    return words.get(options.task) or f"x{options.factor}"


def _clip(image):
    return image.clip(0, 1)


def _denoise(pixels, truth, options):
    from dipjax.operators import problem

    del options
    return Task(problem.denoising(pixels, truth=truth), _clip, pixels)


def _inpaint(pixels, truth, options):
    from dipjax.operators import problem

    white = images.load_mask(options.mask, pixels.shape[:2])
    known = white if options.mask_known else ~white
    if known.all() or not known.any():
        wrong = "no pixel" if known.all() else "every pixel"
        raise ImageError(f"the mask {options.mask!r} marks {wrong} to be filled in; is --mask-known right?")
    if known.mean() < 0.5:
        advice = "leave out --mask-known" if options.mask_known else "use --mask-known"
        filled = f"{100 * (1 - known.mean()):.0f} % of the picture will be filled in"
        _note(f"{filled}; if the mask means the opposite, {advice}")
    known = known[..., None]
    task = problem.inpainting(pixels, known, truth=truth)
    return Task(task, lambda estimate: np.where(known, pixels, estimate.clip(0, 1)), pixels)


def _superres(pixels, truth, options):
    from PIL import Image

    from dipjax.operators import problem, resampling

    kernel = getattr(resampling, options.kernel.upper())
    height, width, _ = pixels.shape
    size = (width * options.factor, height * options.factor)
    channels = [Image.fromarray(channel).resize(size, Image.Resampling.BICUBIC) for channel in np.moveaxis(pixels, -1, 0)]
    enlarged = np.stack([np.asarray(channel) for channel in channels], -1).clip(0, 1)
    return Task(problem.super_resolution(pixels, options.factor, kernel=kernel, truth=truth), _clip, enlarged)


def _deblur(pixels, truth, options):
    from dipjax.operators import problem, psfs

    extent = 8 * options.gaussian if options.gaussian else options.motion[0] if options.motion else 0
    if extent > sum(pixels.shape[:2]):  # before an enormous array is made
        raise ImageError("the blur is wider than the picture")
    if options.psf:
        psf = images.load_psf(options.psf)
    else:
        psf = psfs.gaussian(options.gaussian) if options.gaussian else psfs.motion(*options.motion)
    if psf.shape[0] > pixels.shape[0] or psf.shape[1] > pixels.shape[1]:
        sizes = [f"{width} x {height}" for height, width in (psf.shape, pixels.shape[:2])]
        raise ImageError(f"the blur covers {sizes[0]} pixels and the picture has only {sizes[1]}")
    if options.boundary != "valid":
        return Task(problem.deblurring(pixels, psf, boundary=options.boundary, truth=truth), _clip, pixels)
    # Here the estimate is larger than the picture: what is written is the part that was photographed.
    top, left = (size - 1 - size // 2 for size in psf.shape)
    rows, columns = slice(top, top + pixels.shape[0]), slice(left, left + pixels.shape[1])
    task = problem.deblurring(pixels, psf, boundary="valid")
    return Task(task, lambda estimate: estimate[..., rows, columns, :].clip(0, 1), pixels)


def _flash(pixels, truth, options):
    from dipjax.operators import problem

    guide = images.load(options.flash).pixels
    if guide.shape[:2] != pixels.shape[:2]:
        sizes = [f"{width} x {height}" for height, width in (guide.shape[:2], pixels.shape[:2])]
        raise ImageError(f"the flash picture {options.flash!r} has {sizes[0]} pixels but the picture has {sizes[1]}; crop or resize one")
    return Task(problem.flash(pixels, guide, truth=truth), _clip, pixels)


_TASKS = {"denoise": _denoise, "dejpeg": _denoise, "inpaint": _inpaint, "superres": _superres, "deblur": _deblur, "flash": _flash}
