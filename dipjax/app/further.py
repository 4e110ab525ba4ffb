"""The commands for what comes after a deep image prior: `distill`, `apply` and `refine`.

Here they are read; `students` and `finish` do the work.
"""

import argparse

from dipjax.app import cli, startup
from dipjax.files.opening import KINDS
from dipjax.tasks import options as asked
from dipjax.tasks.door import TASKS

MEASURED = {"superres": ("kernel",), "inpaint": ("mask", "grow"), "deblur": ("psf", "boundary")}
"""The tasks, beside `denoise`, whose measurement `refine` knows, and what they are told of it beside the picture."""


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the commands."""
    for make in (_distill, _apply, _refine):
        parser = make(commands)
        parser.set_defaults(parser=parser)
        parser.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)


def _distill(commands):
    words = "teach a light network by deep image priors of a folder of noisy pictures; apply then restores others at once"
    parser = commands.add_parser("distill", help=words, description=f"{words.capitalize()}. No clean picture is needed.")
    parser.set_defaults(run=_run_distill)
    parser.add_argument(
        "input", nargs="+", type=cli.typed(cli.text), metavar="IN", help="noisy pictures of a kind: files, folders, patterns"
    )
    parser.add_argument("-o", "--output", type=cli.file_name, required=True, metavar="STUDENT", help="the file of the network")
    parser.add_argument(
        "--teachers", type=cli.typed(cli.text), metavar="DIR",
        help="the folder of the teachers, whose records say what is done when the command is given again (default STUDENT.teachers)",
    )  # fmt: skip
    parser.add_argument("--anyway", action="store_true", help="also from pictures with several kinds of noise, for the most frequent")
    cli.add_switches(parser, "--recursive", "--force", "--max-pixels")
    student = parser.add_argument_group("the network")
    for flag, default, most, words in (
        ("--width", 16, 256, "its channels inside"),
        ("--layers", 6, 50, "its convolutions"),
        ("--training-steps", 3000, asked.MOST_STEPS, "of its training"),
    ):
        student.add_argument(flag, type=cli.typed(asked.whole(2, most)), default=default, metavar="N", help=f"{words} (default {default})")
    cli.add_options(parser)
    return parser


def _apply(commands):
    words = "restore pictures with a network that distill has taught, in one pass"
    parser = commands.add_parser("apply", help=words, description=f"{words.capitalize()}. Reads {KINDS}.")
    parser.set_defaults(run=_run_apply, task="apply", ray=None, **dict.fromkeys(cli.OUTPUTS))
    parser.add_argument("student", type=cli.file_name, metavar="STUDENT", help="the file that distill wrote")
    parser.add_argument(
        "input", nargs="+", type=cli.typed(cli.text), metavar="IN", help="a picture, several, folders, patterns; - is stdin"
    )
    parser.add_argument(
        "-o", "--output", type=cli.typed(cli.text), metavar="OUT",
        help="where to write, a folder for several pictures, - for stdout (default: beside the input)",
    )  # fmt: skip
    parser.add_argument("--anyway", action="store_true", help="also where noise or range are others than what was learned")
    parser.add_argument("--json", type=cli.file_name, metavar="FILE", help="write a record; of several pictures one lies beside each")
    cli.add_switches(parser, "--pages", "--recursive", "--force", "--strip-metadata", "--max-pixels")
    return parser


def _refine(commands):
    words = "give a restored picture the look of clean examples, as far as its measurement allows"
    more = "Of RESULT it has to be known how INPUT came about: see --of."
    parser = commands.add_parser("refine", help=words, description=f"{words.capitalize()}. {more} Reads {KINDS}.")
    parser.set_defaults(run=_run_refine, task="refine", ray=None, **dict.fromkeys(cli.OUTPUTS))
    parser.add_argument(
        "input", nargs="+", type=cli.typed(cli.text), metavar="RESULT", help="a restored picture, several, folders, patterns; - is stdin"
    )
    parser.add_argument(
        "--of", type=cli.typed(cli.text), required=True, metavar="INPUT",
        help="what it was made of: of RESULT's size the picture with its noise, smaller by a whole factor the small one; with holes or a"
        " blur where --mask or --psf, --gaussian, --motion say so; what compression, a mosaic or an instrument made is refused as far as"
        " a record beside RESULT tells. Of several a folder with files of the same names",
    )  # fmt: skip
    parser.add_argument(
        "--examples", type=cli.typed(cli.text), required=True, nargs="+", metavar="DIR",
        help="clean pictures: folders, files, patterns; also one that shows clean parts of the same picture",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", type=cli.typed(cli.text), metavar="OUT",
        help="where to write, a folder for several pictures, - for stdout (default: beside RESULT)",
    )  # fmt: skip
    of = parser.add_argument_group("how INPUT came about, as it was given to make RESULT")
    for command, names in MEASURED.items():
        for name in names:
            cli.add_parameter(of, TASKS[command], name, is_optional=True)
    for flag, name, parse, default, metavar, words in (
        ("--steps", "num_steps", asked.whole(1, asked.MOST_STEPS), 400, "N", "steps of the training"),
        ("--weight", "weight", asked.not_negative, 3e-4, "W", "how much the look counts against the measurement"),
        ("--bound", "bound", asked.not_negative, 0.01, "SHARE", "by which share the misfit may grow; beyond, RESULT is written as it is"),
        ("--rng", "rng", asked.whole(0, 2**32 - 1), 0, "N", "where randomness begins"),
    ):
        how = {"type": cli.typed(parse), "default": default, "metavar": metavar, "help": f"{words} (default {default})"}
        parser.add_argument(flag, dest=name, **how)
    parser.add_argument("--reference", type=cli.file_name, metavar="CLEAN", help="the true picture, to tell PSNR and SSIM")
    parser.add_argument("--json", type=cli.file_name, metavar="FILE", help="write a record of settings and results")
    cli.add_switches(parser, "--pages", "--recursive", "--force", "--strip-metadata", "--max-pixels")
    return parser


def _run_distill(options):
    startup.start_jax(getattr(options, "seeds", asked.Options.seeds))
    from dipjax.app import students

    return students.distill(options, cli.parse)


def _run_apply(options):
    startup.start_jax(1)
    from dipjax.app import students

    return students.apply(options)


def _run_refine(options):
    startup.start_jax(1)
    from dipjax.app import finish

    return finish.refine(options)
