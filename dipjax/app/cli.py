"""The command line: `dipjax denoise|dejpeg|inpaint|superres|deblur|flash|demo|generators|doctor`.

This file reads the arguments and turns what can go wrong into one sentence and an exit code; `command`, `demo` and `doctor` do the
work. Nothing heavy is imported before the arguments are known to be right. To add a command, add a parser whose `run` is a function
`(options) -> exit code`.

Exit codes: 0 done, 1 an error of dipjax itself, 2 usage, 3 an input cannot be used, 4 an output cannot be written, 5 every seed
diverged, 130 interrupted (143 by SIGTERM).
"""

import argparse
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from dipjax import __version__
from dipjax.app import startup

# Those of `named`, which would import JAX.
GENERATORS = (
    "skip", "encoder-decoder", "unet", "resnet", "texture-net", "dcgan", "plain", "deep-decoder", "conv-decoder", "positional", "siren",
)  # fmt: skip
_DEMO_SEEDS = 2  # that of `demo`, which would import JAX
_USAGE, _INPUT, _OUTPUT, _DIVERGED, _INTERRUPTED, _TERMINATED = 2, 3, 4, 5, 130, 143


class _Parser(argparse.ArgumentParser):
    """argparse offers no other way than a subclass to change how an error reads."""

    def __init__(self, *arguments, **options):
        # Abbreviations would take `--seed 42` for `--seeds 42`.
        super().__init__(*arguments, allow_abbrev=False, **options)

    def error(self, message):
        self.exit(_USAGE, f"dipjax: error: {message} (see {self.prog} --help)\n")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command line and returns its exit code."""
    is_program = arguments is None
    options = parse(sys.argv[1:] if is_program else arguments)
    if is_program and options.run in {_restore, _demo}:
        startup.use_huge_pages()
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        code = _run(options)
    except KeyboardInterrupt as interruption:
        print("dipjax: interrupted.", file=sys.stderr)
        code = interruption.args[0] if interruption.args else _INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    _leave_if_computing(code)
    return code


def parse(arguments: list[str]) -> argparse.Namespace:
    """Reads one command line; leaves with exit code 2 if it is wrong."""
    options, unknown = _parser().parse_known_args(arguments, argparse.Namespace(arguments=arguments))
    if unknown:
        hint = "; --rng N is the random start, --seeds K how many" if unknown[0].startswith("--seed") else ""
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    if getattr(options, "option", None) and not options.generator:
        options.parser.error("--option: found no --generator, expected one whose option it is")
    if getattr(options, "generator", None) and options.task == "flash":
        options.parser.error("--generator: found one for flash, expected none: its network sees the flash picture, not noise")
    return options


def _run(options):
    try:
        return options.run(options)
    except Exception as error:
        if options.debug:
            traceback.print_exc()
        code, sentence = _explain(error)
        print(f"dipjax: error: {sentence}", file=sys.stderr)
        return code


def _explain(error):
    from dipjax.app.command import Diverged
    from dipjax.files.images import OutputError

    sentence = " ".join(str(error).split())
    if isinstance(error, Diverged):
        return _DIVERGED, sentence
    if isinstance(error, OutputError):
        return _OUTPUT, sentence
    if isinstance(error, ValueError):  # ImageError, and what the problem constructors refuse
        return _INPUT, sentence
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in sentence:
        return 1, "not enough memory; take a smaller picture, fewer --seeds, --batching map, or a --tile"
    return 1, f"{type(error).__name__}: {sentence} (--debug shows where)"


def _terminate(signal_number, frame):
    del signal_number, frame
    raise KeyboardInterrupt(_TERMINATED)


def _leave_if_computing(code):
    """Ends the process where a computation is still running: Python would wait for it, and it cannot be stopped."""
    progress = sys.modules.get("dipjax.progress")
    patience = 0.0 if code in {_INTERRUPTED, _TERMINATED} else 2.0
    if progress and progress.is_working(patience):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _parser():
    parser = _Parser(prog="dipjax", description="Restores one picture with an untrained network: a deep image prior.")
    parser.add_argument("--version", action="version", version=f"dipjax {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_restoration(commands, "denoise", "remove noise")
    _add_restoration(commands, "dejpeg", "remove the blocks and rings of strong compression")
    inpaint = _add_restoration(commands, "inpaint", "fill in missing pixels; the others stay as they are")
    inpaint.add_argument("--mask", required=True, help="picture of the same size, lighter than half where to fill in")
    inpaint.add_argument("--mask-known", action="store_true", help="white marks the pixels to keep instead")
    superres = _add_restoration(commands, "superres", "enlarge")
    superres.add_argument("--factor", type=_whole(2), default=4, metavar="N", help="times longer on each side (default 4)")
    kernels = ("lanczos2", "lanczos3", "bicubic", "box")
    superres.add_argument("--kernel", choices=kernels, default="lanczos2", help="how it was made small (default lanczos2)")
    deblur = _add_restoration(commands, "deblur", "sharpen a picture whose blur is known")
    blur = deblur.add_mutually_exclusive_group(required=True)
    blur.add_argument("--psf", metavar="FILE", help="what became of one bright point: a picture, .npy, .txt or .csv")
    blur.add_argument("--gaussian", type=_positive, metavar="SIGMA", help="Gaussian blur, standard deviation in pixels")
    blur.add_argument("--motion", nargs=2, action=_Motion, metavar=("LENGTH", "ANGLE"), help="straight motion, in pixels and in degrees")
    boundaries = ("reflect", "circular", "valid")
    deblur.add_argument("--boundary", choices=boundaries, default="reflect", help="what lies beyond the edges (default reflect)")
    flash = _add_restoration(commands, "flash", "remove the noise of a picture taken without flash, with the help of one with flash")
    flash.add_argument("--flash", required=True, metavar="FLASH", help="the same scene from the same place, with flash; of the same size")
    demo = commands.add_parser("demo", help="restore an example picture and compare, within a minute")
    demo.add_argument("-o", "--output", default="dipjax-demo", metavar="DIR", help="where to write (default dipjax-demo)")
    doctor = commands.add_parser("doctor", help="say what this machine has and whether it works")
    listing = commands.add_parser("generators", help="list the networks for --generator, and their options")
    for command, run in ((demo, _demo), (doctor, _doctor), (listing, _generators)):
        command.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
        command.set_defaults(run=run, parser=command)
    return parser


def _add_restoration(commands, task, words):
    parser = commands.add_parser(task, help=words, description=f"{words.capitalize()}. Reads and writes PNG, JPEG, WebP, BMP, TIFF.")
    parser.set_defaults(run=_restore, task=task, parser=parser)
    parser.add_argument("input", metavar="IN", help="the picture")
    parser.add_argument("-o", "--output", metavar="OUT", help="where to write (default: beside the input)")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    common = parser.add_argument_group("how long and how well")
    common.add_argument("--seeds", type=_whole(1), default=4, metavar="K", help="restorations that are averaged (default 4)")
    common.add_argument("--rng", type=_whole(0, 2**32 - 1), default=0, metavar="N", help="where the seeds begin (default 0)")
    common.add_argument(
        "--steps",
        type=_whole(1),
        metavar="N",
        help="training steps of each restoration (default: the recipe's; with the fast one for noise 150 to 1650, by the picture's side)",
    )
    common.add_argument(
        "--budget", type=_positive, metavar="SECONDS", help="stop then, compilation included, but not before the first step"
    )
    method = common.add_mutually_exclusive_group()
    method.add_argument(
        "--recipe", choices=("fast", "paper"), help="fast: small network; paper: the official setting (default: fast on a CPU, else paper)"
    )
    method.add_argument(
        "--generator", choices=GENERATORS, metavar="NAME", help=f"another network, with its setting for noise: {', '.join(GENERATORS)}"
    )
    common.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="of the --generator; `dipjax generators` lists them"
    )
    common.add_argument("--schedule", choices=("constant", "cosine"), help="of the learning rate (default: the recipe's)")
    layouts = ("auto", "vmap", "map")
    common.add_argument("--batching", choices=layouts, default="auto", help="seeds together or one by one (default auto)")
    common.add_argument(
        "--compilation-cache",
        choices=("auto", "on", "off"),
        default="auto",
        help="keep compiled programs for the next start (default auto: on, except on a CPU)",
    )
    common.add_argument(
        "--tile", type=_whole(0), metavar="PIXELS", help="restore tiles of this side and blend them; 0 never (default: for memory)"
    )
    common.add_argument("--tile-overlap", type=_whole(1), metavar="PIXELS", help="what neighbours share (default: an eighth of the tile)")
    extra = parser.add_argument_group("what else to read and write")
    extra.add_argument("--reference", metavar="CLEAN", help="the true picture, to compute PSNR and SSIM")
    extra.add_argument("--json", metavar="FILE", help="write a record of settings, times and results")
    extra.add_argument("--plot", metavar="FILE", help="write a figure: pictures, standard deviation, curves")
    extra.add_argument("--curve", metavar="FILE.csv", help="write loss and PSNR of every step")
    parser.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    return parser


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    def parse(text):
        value = int(text) if text.strip().lstrip("+-").isdecimal() else None
        if value is None or value < least or (most is not None and value > most):
            limits = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number {limits}")
        return value

    return parse


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a positive number")
    return value


class _Motion(argparse.Action):
    """Reads LENGTH, which is positive, and ANGLE, which may be anything."""

    def __call__(self, parser, namespace, values, option_string=None):
        del parser, option_string
        try:
            length, angle = map(float, values)
        except ValueError:
            length = angle = math.nan
        if not (0 < length < math.inf and math.isfinite(angle)):
            raise argparse.ArgumentError(self, f"found {' '.join(values)!r}, expected a positive length and an angle in degrees")
        setattr(namespace, self.dest, (length, angle))


def _restore(options):
    startup.use_cores(options.seeds)
    from dipjax.app import command  # imports JAX

    return command.restore(options).followed.exit_code


def _demo(options):
    startup.use_cores(_DEMO_SEEDS)
    from dipjax.app import demo  # imports JAX

    return demo.run(Path(options.output), parse)


def _generators(options):
    from dipjax.generators import registry as named

    del options
    for name in GENERATORS:
        print(name, *(f"{key}={value}" for key, value in named.described(name).items()))
    return 0


def _doctor(options):
    from dipjax.app import doctor

    del options
    return doctor.run()
