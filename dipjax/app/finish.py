"""`dipjax refine`: a restored picture, what it was made of, and clean examples, from files to a file."""

import time
from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np

from dipjax import files, metrics
from dipjax.after import refine as after
from dipjax.app import many, rescue, signals
from dipjax.app.report import command_line
from dipjax.app.streams import note, say
from dipjax.app.students import shown
from dipjax.files import ImageError, OutputError
from dipjax.files.opening import MAX_PIXELS
from dipjax.files.picture import white
from dipjax.record import as_file, made_with


def refine(given: Namespace) -> int:
    """Refines a picture and returns the exit code.

    Raises:
      ImageError: a picture cannot be used.
      OutputError: the result cannot be written.
    """
    load = partial(files.load, max_pixels=given.max_pixels or MAX_PIXELS)
    output = Path(given.output or files.default_output(given.input, "refined"))
    result, degraded = load(given.input), load(given.of)
    _check(given, output, result)
    if result.pixels.shape[-1] != degraded.pixels.shape[-1]:
        raise ImageError(
            f"{given.input!r} has {result.pixels.shape[-1]} channels and {given.of!r} {degraded.pixels.shape[-1]}, expected the same"
        )
    examples = _examples(given, result.pixels.shape[-1], load)
    truth = load(given.reference).pixels if given.reference else None
    if truth is not None and truth.shape != result.pixels.shape:
        raise ImageError(f"the reference {given.reference!r} has shape {truth.shape} but the result {result.pixels.shape}")
    start = time.perf_counter()
    how = {name: getattr(given, name) for name in ("num_steps", "weight", "bound", "rng")}
    made = after.refine(result.pixels, degraded.pixels, examples, **how, channel_axis=-1, callback=shown(given.num_steps))
    if signals.requested():
        return signals.exit_code()
    image = made.image.clip(0, 1) if white(result.dtype) > 1 else made.image
    rescue.written(output, lambda path: files.save(path, image, result, force=given.force, keep_metadata=not given.strip_metadata))
    say(f"wrote {output}, in {time.perf_counter() - start:.1f} s")
    (say if made.is_refined else note)(str(made))
    scores = None if truth is None else {name: _score(one, truth) for name, one in (("before", result.pixels), ("after", image))}
    for name, score in (scores or {}).items():
        say(f"{name}: PSNR {score['psnr']:.2f} dB, SSIM {score['ssim']:.3f}")
    if given.json:
        files.write(given.json, _record(given, output, made, scores, len(examples), how), force=given.force)
        say(f"wrote {given.json}")
    return 0


def _check(given, output, result):
    files.check_writable(output, result, force=given.force)
    if given.json:
        files.check_free(given.json, force=given.force)
    read = {Path(path).resolve() for path in (given.of, given.reference) if path}
    if output.resolve() in read or (given.json and Path(given.json).resolve() in read | {output.resolve(), Path(given.input).resolve()}):
        raise OutputError("an output would replace a file that is read, or another output; give it another name")


def _examples(given, channels, load):
    """Returns the examples, each with the channels of the result."""
    places = list(dict.fromkeys(path for name in given.examples for path, _ in many.found(name, given.recursive, None)))
    if not places:
        raise ImageError(f"there is no picture in {', '.join(map(repr, given.examples))}; expected clean examples")
    examples = []
    for path in places:
        pixels = load(path).pixels
        if pixels.shape[-1] != channels:
            raise ImageError(f"the example {str(path)!r} has {pixels.shape[-1]} channels, expected {channels} as the picture; convert it")
        if min(pixels.shape[:2]) < after.SMALLEST:
            height, width = pixels.shape[:2]
            note(f"the example {str(path)!r} has {width} x {height} pixels, fewer than {after.SMALLEST} along a side, and is left out")
            continue
        examples.append(pixels)
    if not examples:
        raise ImageError(f"no example has {after.SMALLEST} x {after.SMALLEST} pixels; give larger ones")
    return examples


def _score(image, truth):
    image, truth = np.float32(image), np.float32(truth)
    return {"psnr": float(metrics.psnr(image, truth)), "ssim": metrics.ssim(image, truth)}


def _record(given, output, made, scores, num_examples, how):
    content = {
        "task": given.task,
        "command": command_line(given.arguments),
        "input": {"file": Path(given.input).name, "of": Path(given.of).name, "examples": num_examples},
        "output": {"file": output.name},
        "refined": made.is_refined,
        "misfit": {"before": made.before, "after": made.after},
        "metrics": scores,
        "options": how,
        "ending": "done",
    } | made_with()
    return as_file(content)
