"""The command line: a command for every task of `dipjax.tasks`, those of `further`, and `resume`, `demo`, `generators`, `doctor`.

This file reads the arguments and turns what can go wrong into one sentence and an exit code; `command`, `demo` and `doctor` do the
work. Nothing heavy is imported before the arguments are known to be right. What a task takes beside the picture, and all `Options`, are
read from there; to add a command that is no task, add a parser whose `run` is a function `(options) -> exit code`.

Exit codes: 0 done, 1 an error of dipjax itself, 2 usage, 3 an input cannot be used, 4 an output cannot be written, 5 every seed
diverged, 130 interrupted (129 by SIGHUP, 143 by SIGTERM).
"""

import argparse
import difflib
import math
import os
import re
import shlex
import traceback
from collections.abc import Callable
from typing import Any

from dipjax import __version__
from dipjax.app import journal, startup
from dipjax.app.streams import complain, say
from dipjax.files import OutputError
from dipjax.files.opening import KINDS
from dipjax.tasks import options as asked
from dipjax.tasks import tasks  # noqa: F401, which registers them
from dipjax.tasks.door import TASKS, Spec, argument_of

OUTPUTS = ("json", "plot", "curve", "uncertainty", "found", "report")  # beside the picture; None where a command has none of a kind
_DEMO_SEEDS = 2  # that of `demo`, which would import JAX
_USAGE, _INPUT, _OUTPUT, _DIVERGED = 2, 3, 4, 5


class _Parser(argparse.ArgumentParser):
    """argparse offers no other way than a subclass to change how an error reads."""

    def __init__(self, *arguments, **options):
        # Abbreviations would take `--seed 42` for `--seeds 42`.
        super().__init__(*arguments, allow_abbrev=False, **options)

    def error(self, message):
        complain(f"{message} (see {self.prog} --help)")
        self.exit(_USAGE)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Reads one command line; leaves with exit code 2 if it is wrong."""
    parser, commands = _parser()
    if arguments and not arguments[0].startswith("-") and arguments[0] not in commands:
        parser.error(_unknown_command(arguments[0], commands))
    options, unknown = parser.parse_known_args(arguments, argparse.Namespace(arguments=arguments))
    if unknown:
        flags = re.findall(r"--[a-z-]+", options.parser.format_usage())
        hint = "; --rng N is the random start, --seeds K how many" if unknown[0].startswith("--seed") else _alike(unknown[0], flags)
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return options


def _unknown_command(word, commands):
    if os.path.exists(word):
        return f"{word!r} is no command; say first what is to be done with it, as in dipjax denoise {shlex.quote(word)}"
    return f"there is no command {word!r}{_alike(word, commands)}"


def _alike(word, known):
    near = difflib.get_close_matches(word.partition("=")[0], known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def run(options: argparse.Namespace) -> int:
    """Does what a command line asks for and returns the exit code; an error becomes a sentence."""
    try:
        return options.run(options)
    except Exception as error:
        if options.debug:
            traceback.print_exc()
        code, sentence = _explain(error)
        complain(sentence)
        return code


def _explain(error):
    sentence = " ".join(str(error).split())
    if isinstance(error, asked.Diverged):
        return _DIVERGED, f"{sentence}; nothing was written"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in sentence:
        return 1, "not enough memory; take a smaller picture, fewer --seeds, --batching map, or a --tile"
    # ValueError: ImageError, and what tasks and options refuse.
    codes = {asked.Misused: _USAGE, OutputError: _OUTPUT, ValueError: _INPUT, startup.JaxError: 1}
    code = next((code for kind, code in codes.items() if isinstance(error, kind)), None)
    return (1, f"{type(error).__name__}: {sentence} (--debug shows where)") if code is None else (code, sentence)


def _parser():
    from dipjax.app import further  # which uses what is here

    parser = _Parser(prog="dipjax", description="Restores one picture with an untrained network: a deep image prior.")
    parser.add_argument("--version", action="version", version=f"dipjax {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for spec in TASKS.values():
        _add_task(commands, spec)
    further.add(commands)
    demo = commands.add_parser("demo", help="restore an example picture and compare, within a minute")
    demo.add_argument("-o", "--output", type=typed(text), default="dipjax-demo", metavar="DIR", help="where to write (default dipjax-demo)")
    resume = commands.add_parser("resume", help="go on with a command that was given --checkpoint DIR")
    resume.add_argument("folder", type=typed(text), metavar="DIR", help="the folder of its checkpoints")
    resume.add_argument("--steps", type=typed(asked.whole(1, asked.MOST_STEPS)), metavar="N", help="go on to N steps in all")
    doctor = commands.add_parser("doctor", help="say what this machine has and whether it works")
    listing = commands.add_parser("generators", help="list the networks for --generator, and their options")
    for command, action in ((demo, _demo), (resume, _resume), (doctor, _doctor), (listing, _generators)):
        command.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
        command.set_defaults(run=action, parser=command)
    return parser, commands.choices


def _add_task(commands, spec):
    reads = "complex numbers in NumPy's .npy" if spec.is_complex else KINDS
    writes = "all of them but GIF and HEIC" if spec.is_picture else "float32: TIFF, NumPy, FITS"
    description = f"{spec.words.capitalize()}. Reads {reads}; writes {writes}."
    parser = commands.add_parser(spec.command, help=spec.words, description=description)
    parser.set_defaults(run=_restore, task=spec.command, parser=parser, **dict.fromkeys(OUTPUTS))
    parser.add_argument("input", nargs="+", type=typed(text), metavar="IN", help="the picture; or several, folders, patterns; - is stdin")
    for name in spec.parameters:
        add_parameter(parser, spec, name)
    parser.add_argument(
        "-o",
        "--output",
        type=typed(text),
        metavar="OUT",
        help="where to write, a folder for several pictures, - for stdout (default: beside the input)",
    )
    parser.add_argument(
        "--ray", nargs="?", const="local", type=typed(text), metavar="ADDRESS",
        help="hand several pictures to the workers of a Ray cluster; without ADDRESS to one that is made here",
    )  # fmt: skip
    parser.add_argument(
        "--together", type=typed(asked.whole(1, 1000)), metavar="N",
        help="of several pictures, compute so many of one size side by side (default: as many as fill the machine, one on a CPU)",
    )  # fmt: skip
    add_switches(parser, "--pages", "--recursive", "--force", "--strip-metadata")
    add_options(parser)
    extra = parser.add_argument_group("what else to read and write")
    reference = asked.arguments()["truth"]
    extra.add_argument(reference.flag, dest="reference", type=file_name, metavar=reference.metavar, help=reference.help)
    extra.add_argument(
        "--json", type=file_name, metavar="FILE", help="write a record of settings, times and results; --recipe FILE runs it again"
    )
    extra.add_argument(
        "--uncertainty",
        type=file_name,
        metavar="FILE",
        help="write the standard deviation of the error of every pixel: .tif in the units of the picture, or .png, scaled as --json says;"
        " needs --stop held-out, which only denoise, flash, superres and restore-photo have by themselves, and two seeds",
    )
    extra.add_argument(
        "--report",
        type=file_name,
        metavar="FILE.html",
        help="write a page to look at: before and after, every seed, uncertainty, residual, curves, settings;"
        " of several pictures an index, and their pages in the folder FILE_files",
    )
    extra.add_argument(
        "--live",
        action="store_true",
        help="show the picture as it forms: tells the address of a page for a browser on this machine, with buttons to stop and to keep",
    )
    extra.add_argument("--preview", action="store_true", help="draw the picture small below the progress, in a terminal that can")
    if spec.finds:
        extra.add_argument("--found", type=file_name, metavar="FILE", help=f"write {spec.finds}")
    extra.add_argument("--plot", type=file_name, metavar="FILE", help="write a figure: pictures, standard deviation, curves")
    extra.add_argument("--curve", type=file_name, metavar="FILE.csv", help="write loss and PSNR of every step")
    add_switches(extra, "--max-pixels")
    parser.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)


def add_parameter(parser: argparse._ActionsContainer, spec: Spec, name: str, *, is_optional: bool = False) -> None:
    """Adds what a task asks for beside the picture; optional, where another command may know it by itself."""
    parameter = spec.parameters[name]
    argument, required = argument_of(parameter), parameter.default is parameter.empty and not is_optional
    if argument.read in _READERS:
        _READERS[argument.read](parser, name, argument, required=required)
    else:
        _add(parser, name, argument, default_shown=None if parameter.default is parameter.empty else parameter.default, required=required)


def add_switches(parser: argparse._ActionsContainer, *flags: str) -> None:
    """Adds what means the same in every command that has it."""
    known: dict[str, dict] = {
        "--pages": {
            "type": typed(pages),
            "metavar": "all|N|A-B",
            "help": "of a file of several pages (default all): each is restored for itself",
        },
        "--recursive": {"action": "store_true", "help": "of folders, take what is in folders inside of them too"},
        "--force": {"action": "store_true", "help": "replace files that exist"},
        "--strip-metadata": {
            "action": "store_true",
            "help": "write no EXIF, GPS, XMP, texts, resolution and places; the colour profile stays",
        },
        "--max-pixels": {"type": typed(asked.whole(1)), "metavar": "N", "help": "the most that a picture may have (default 64 million)"},
    }
    for flag in flags:
        parser.add_argument(flag, **known[flag])


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds all `Options` to a command, and whether programs are kept."""
    common = parser.add_argument_group("how long and how well")
    for name, argument in asked.arguments().items():
        if argument.flag and not argument.read:
            _add(common, name, argument, default_shown=getattr(asked.Options, name))
    common.add_argument(
        "--compilation-cache",
        choices=("auto", "on", "off"),
        default="auto",
        help="keep compiled programs for the next start (default auto: on, on a CPU once a trial has shown that it works)",
    )


def _add(parser, name, argument, *, default_shown, **more):
    """Adds an option that says nothing of itself where it is not given, so that it is known what the user asked for."""
    shown = f"{argument.help}{_default(default_shown)}"
    how = {"dest": name, "default": argparse.SUPPRESS, "help": shown, "metavar": argument.metavar} | more
    how |= (
        {"choices": argument.choices}
        if argument.choices
        else {"type": typed(asked.whole(*argument.limits) if argument.limits else argument.parse or text)}
    )
    how |= {"action": "append"} if argument.many else {}
    parser.add_argument(argument.flag, **{key: value for key, value in how.items() if value is not None})


def _default(value):
    """Returns the words for a default as it is written in a shell; none where the help says itself what happens."""
    if value is None or value == ():
        return ""
    parts = value if isinstance(value, tuple) else (value,)
    return f" (default {','.join(f'{part:g}' if isinstance(part, float) else str(part) for part in parts)})"


def _add_picture(parser, name, argument, *, required):
    parser.add_argument(argument.flag, dest=name, type=file_name, required=required, metavar=argument.metavar, help=argument.help)


def _add_mask(parser, name, argument, *, required):
    _add_picture(parser, name, argument, required=required)
    parser.add_argument("--mask-known", action="store_true", help="white marks the pixels to keep instead")


def _add_psf(parser, name, argument, *, required):
    del name
    blur = parser.add_mutually_exclusive_group(required=required)
    blur.add_argument(argument.flag, type=file_name, metavar="FILE", help="what became of one bright point: a picture, .npy, .txt or .csv")
    blur.add_argument("--gaussian", type=typed(asked.positive), metavar="SIGMA", help="Gaussian blur, standard deviation in pixels")
    blur.add_argument(
        "--unknown",
        type=typed(asked.whole(2)),
        metavar="PIXELS",
        help="it is found, in a square of this odd side around its centre of mass",
    )
    blur.add_argument("--motion", nargs=2, action=_Motion, metavar=("LENGTH", "ANGLE"), help="straight motion, in pixels and in degrees")


def _add_complex(parser, name, argument, *, required):
    _add_picture(parser, name, argument._replace(metavar="FILE.npy"), required=required)


_READERS: dict[str, Callable] = {"picture": _add_picture, "mask": _add_mask, "psf": _add_psf, "complex": _add_complex}


def typed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Returns a reader whose sentence argparse keeps."""

    def read(word):
        try:
            return parse(word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def text(word: str) -> str:
    """Reads a name that must say something: an unset shell variable is a slip."""
    if not word.strip():
        raise ValueError("found an empty text, expected a name; is a shell variable unset?")
    return word


def pages(word: str) -> tuple[int, int] | None:
    """Reads N, or A-B, counted from 1; None for all."""
    if word == "all":
        return None
    try:
        first, last = ([asked.whole(1)(part) for part in word.split("-")] * 2)[:2]
    except ValueError:
        first, last = 1, 0
    if word.count("-") > 1 or first > last:
        raise ValueError(f"found {word!r}, expected all, a page N from 1, or the first and the last, A-B")
    return first, last


def _file_name(word):
    if text(word).endswith(("/", os.sep)):
        raise ValueError(f"found {word!r}, the name of a folder, expected that of a file")
    return word


file_name = typed(_file_name)


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
    if not options.ray:  # the machines of which start it themselves
        startup.start_jax(getattr(options, "seeds", asked.Options.seeds) * (options.together or 1))
    from dipjax.app import command, live, pipes

    with live.opened(options):
        return pipes.handled(options, command.work, command.word)


def _demo(options):
    startup.start_jax(_DEMO_SEEDS)
    from dipjax.app import demo  # imports JAX

    return demo.run(options.output, parse)


def _resume(options):
    given = journal.again(options.folder, options.steps, parse)
    return given.run(given) if given else 0


def _generators(options):
    del options
    startup.start_jax(1)
    from dipjax.generators import registry

    for name in registry.GENERATORS:
        say(" ".join([name, *(f"{key}={value}" for key, value in registry.described(name).items())]))
    return 0


def _doctor(options):
    from dipjax.app import doctor

    del options
    return doctor.run()
