"""Is anything ever lost? Counts of what was tried, and of what went wrong.

    python -m benchmarks.reliability [--part NAME ...] [--share 1.0] [--jobs 2] [--json FILE] [--markdown FILE]

Everything happens to the real command line, or to the real readers and writers, in processes of their own. `--share` scales all counts.
The restoration is a small network on a picture of 24 x 20 pixels, because what is tried is the process and not the method. Where only the
moments count at which the work itself is killed, processes are forked from one that has imported everything; every tenth begins anew.
Finished rows are kept, and `--jobs` parts are done at a time.
"""

import contextlib
import io
import json
import multiprocessing
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from benchmarks import common, odd_files

TINY = ("--generator", "siren", "--option", "width=8", "--seeds", "2", "--stop", "none", "--compilation-cache", "off")
WORDS = (*TINY, "--steps", "2000")
SHORT = (*TINY, "--steps", "20")
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
LONGEST = 10.0  # seconds that reading a picture may take
ENVIRONMENT = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}  # parts that are done side by side have a core each


def dipjax(*arguments, **options):
    """Starts the command line; its words are read unless `options` say where they go."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, "-m", "dipjax", *map(str, arguments)], env=os.environ | ENVIRONMENT, **pipes)


def finished(child):
    """Waits for a process; returns its exit code and what it said on stderr."""
    _, err = child.communicate(timeout=600)
    return child.returncode, (err or b"").decode()


_NURSERY = """
import json, os, sys, warnings
import jax, tifffile, imagecodecs
from dipjax import files
from dipjax.app import cli, command, many, program
warnings.simplefilter("ignore")  # JAX warns of forks; it has not started
print(flush=True)
for line in sys.stdin:
    words = json.loads(line)
    child = os.fork()
    if not child:
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(silent, stream)
        if "code" in words:
            exec(words["code"])
        sys.argv = ["dipjax", *words["arguments"]]
        os._exit(program.main())
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Nursery:
    """A process that has imported everything, and of which others are born, one at a time, to be killed."""

    def __enter__(self):
        from dipjax.app import startup  # with huge pages no process starts itself again, which would not be born of this one

        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen([sys.executable, "-c", _NURSERY], env=os.environ | ENVIRONMENT | startup.HUGE_PAGES, **pipes)
        self._process.stdout.readline()
        return self

    def __exit__(self, *error):
        with self._process.stdin, self._process.stdout:
            pass
        self._process.wait()

    def killed(self, seconds, *arguments, **more):
        """Has a process born that does a command, and kills it after so long, None for never; says whether it was still alive."""
        self._process.stdin.write(json.dumps({"arguments": [str(word) for word in arguments]} | more) + "\n")
        self._process.stdin.flush()
        child = int(self._process.stdout.readline())
        if seconds is not None:
            time.sleep(seconds)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return os.WIFSIGNALED(int(self._process.stdout.readline()))


def timed(function):
    """Returns what a function returns, and how long it takes."""
    start = time.perf_counter()
    return function(), time.perf_counter() - start


def photo(name, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(name)
    return pixels


def clean(err):
    """Says whether an error is a sentence."""
    return "Traceback" not in err


def left_over(folder="."):
    """Returns temporary files."""
    return list(Path(folder).rglob(".dipjax*"))


# Each of the following takes a number and generator of random numbers, works in an empty folder, and returns how often it was tried, how
# often it went wrong, and a remark.


def kills(number, random):
    """Kills runs at any moment and resumes them, until each is done; compares with one that was left alone."""
    photo("photo.png")
    _, longest = timed(lambda: finished(dipjax("denoise", "photo.png", "-o", "alone.png", "--curve", "alone.csv", *WORDS)))
    command = ("denoise", "photo.png", "-o", "out.png", "--curve", "out.csv", *WORDS, "--checkpoint", "kept", "--checkpoint-every", 0.1)
    tried = wrong = runs = 0
    with Nursery() as nursery:
        _, of_born = timed(lambda: nursery.killed(None, "denoise", "photo.png", "-o", "born.png", *WORDS))
        while tried < number:
            runs += 1
            shutil.rmtree("kept", ignore_errors=True)
            for name in ("out.png", "out.csv"):
                Path(name).unlink(missing_ok=True)
            for _ in range(min(10, number - tried)):
                tried += 1
                if tried % 10:
                    nursery.killed(random.uniform(0, of_born), *command)
                else:
                    child = dipjax(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    time.sleep(random.uniform(0, longest))
                    child.kill()
                    child.wait()
            code, err = finished(dipjax("resume", "kept") if Path("kept/command.json").exists() else dipjax(*command))
            names = [(f"out.{kind}", f"alone.{kind}") for kind in ("png", "csv")]
            same = all(Path(out).exists() and Path(out).read_bytes() == Path(alone).read_bytes() for out, alone in names)
            if code or not same or not clean(err) or left_over():
                wrong += 1
                print(f"kills: exit code {code}, same {same}, {left_over()}: {err[-300:]}", file=sys.stderr)
    return tried, wrong, f"{runs} runs, each resumed until it was done: picture and curves bit for bit those of an unbroken run"


def checkpoints(number, random):
    """Damages checkpoints in every way; none may be taken for good."""
    import jax

    from dipjax import checkpoint
    from dipjax.core import drive
    from dipjax.generators import Siren
    from dipjax.operators import problem
    from dipjax.recipes import for_generator

    recipe = for_generator(Siren(3, width=8)).recipe
    task = problem.denoising(photo("photo.png") / np.float32(255))
    result = drive.restore(recipe, jax.random.key(0), task, num_steps=3)
    checkpoint.save("a", checkpoint.Checkpoint(recipe, result.state, result.metrics), task)
    good, tried, wrong = Path("a").read_bytes(), 0, 0
    while tried < number:
        if (bad := damaged(good, random)) == good:
            continue
        Path("a").write_bytes(bad)
        tried += 1
        try:
            checkpoint.load("a", task, recipe=recipe)
            wrong += 1
        except ValueError:
            pass
        except Exception as error:
            wrong += 1
            print(f"checkpoints: {type(error).__name__}: {error}", file=sys.stderr)
    return tried, wrong, "bits, bytes, blocks, lengths and ends changed; all refused in a sentence"


def damaged(content, random):
    """Returns a file that something happened to."""
    content = bytearray(content)
    for _ in range(int(random.integers(1, 4))):
        where = int(random.integers(len(content))) if content else 0
        where = min(where, int(random.integers(64))) if random.random() < 0.2 else where  # where lengths are
        match int(random.integers(6)):
            case 0 if content:
                content[where] ^= 1 << int(random.integers(8))
            case 1:
                del content[where:]
            case 2:
                content[where : where + 64] = bytes(len(content[where : where + 64]))
            case 3:
                content[where:where] = random.bytes(int(random.integers(1, 9)))
            case 4:
                del content[where : where + int(random.integers(1, 9))]
            case 5:
                content[where : where + 4] = random.bytes(len(content[where : where + 4]))
    return bytes(content)


def originals():
    """Returns a good file of each format."""
    rgb = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    made = {}
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "AVIF"):
        buffer = io.BytesIO()
        Image.fromarray(rgb).save(buffer, kind)
        made[kind] = buffer.getvalue()
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for page in (rgb, rgb[::-1]):
            writer.write(page, photometric="rgb", compression="zlib", metadata=None)
    made["TIFF"] = buffer.getvalue()
    made["PNM"] = b"P6\n50 40\n255\n" + rgb.tobytes()
    made["JPEG 2000"] = imagecodecs.jpeg2k_encode(rgb, level=0, reversible=True)
    buffer = io.BytesIO()
    np.save(buffer, rgb)
    made["NumPy"] = buffer.getvalue()
    return made


_READER = """
import json, resource, sys, time
from pathlib import Path
from dipjax import files
base = None
for line in sys.stdin:
    start, words = time.perf_counter(), "read"
    try:
        files.load(line.strip(), max_pixels=1_000_000)
    except files.ImageError:
        words = "refused"
    except BaseException as error:
        words = f"{type(error).__name__}: {error}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    base = base or peak
    print(json.dumps([words, time.perf_counter() - start, peak - base]), flush=True)
"""


def pictures(number, random):
    """Mutates pictures; reading may succeed or refuse, in bounded time and memory, and nothing else."""
    tried = wrong = read = 0
    slowest = largest = 0.0
    kinds = originals()
    for good in kinds.values():
        child = None
        for index in range(number // len(kinds)):
            Path("a").write_bytes(good if index == 0 else damaged(good, random))
            child = child or subprocess.Popen([sys.executable, "-c", _READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            child.stdin.write("a\n")
            child.stdin.flush()
            if not select.select([child.stdout], [], [], 3 * LONGEST)[0]:
                child.kill()
            answer, tried = child.stdout.readline(), tried + 1
            if not answer:  # the process is gone: a decoder has crashed, or has not come to an end
                wrong += 1
                print(f"pictures: the reader died, exit code {_closed(child)}", file=sys.stderr)
                child = None
                continue
            words, seconds, peak = json.loads(answer)
            slowest, largest, read = max(slowest, seconds), max(largest, peak), read + (words == "read")
            if words not in ("read", "refused") or seconds > LONGEST:
                wrong += 1
                print(f"pictures: {words}, {seconds:.1f} s", file=sys.stderr)
        if child:
            _closed(child)
    words = f"{len(kinds)} formats, {read:,} could still be read; the slowest took {slowest:.2f} s"
    return tried, wrong, f"{words}, memory grew by {largest / 2**20:.0f} MiB at most"


def _closed(child):
    """Ends a reader and returns its exit code."""
    with child.stdin, child.stdout:
        pass
    return child.wait()


_WRITER = """
for number in range(10**9):
    files.write("out", bytes([number % 256]) * 2_000_000, force=True)
"""


def writing(number, random):
    """Kills processes while they write; a file is complete, old or new."""
    from dipjax import files

    tried = wrong = 0
    files.write("out", bytes(2_000_000))
    with Nursery() as nursery:
        while tried < number:
            nursery.killed(random.uniform(0.0, 0.15), code=_WRITER)
            content, tried = Path("out").read_bytes(), tried + 1
            wrong += len(content) != 2_000_000 or len(set(content)) != 1
            files.sweep(".")
            wrong += bool(left_over())
    return tried, wrong, "each file whole; what was left beside it is swept"


def signals(number, random):
    """Sends every signal that asks to end, at any time from the start of the process on."""
    photo("photo.png")
    _, longest = timed(lambda: finished(dipjax("denoise", "photo.png", "-o", "out.png", *SHORT)))
    tried = wrong = kept = 0
    for index in range(number):
        Path("out.png").unlink(missing_ok=True)
        which = list(SIGNALS)[index % len(SIGNALS)]
        child = dipjax("denoise", "photo.png", "-o", "out.png", *TINY, "--steps", "4000000")
        time.sleep(random.uniform(0.0, 1.2 * longest))
        child.send_signal(which)
        code, err = finished(child)
        tried += 1
        kept += Path("out.png").exists()
        # Before the first line of Python runs, the system itself ends the process.
        ours = code == SIGNALS[which] and ("nothing is written" in err or Path("out.png").exists())
        if not (ours or code == -which or "KeyboardInterrupt" in err) or left_over():
            wrong += 1
            print(f"signals: {which!r}, exit code {code}: {err[-300:]}", file=sys.stderr)
    return tried, wrong, f"at once, or with the picture so far ({kept} times); the exit code names the signal"


def streams(number, random):
    """Breaks stdout and stderr in every way; the picture is written all the same."""
    del random
    photo("photo.png")
    expected, full = None, os.open("/dev/full", os.O_WRONLY)
    ways = {
        "whole": {},
        "closed": {"preexec_fn": lambda: (os.close(1), os.close(2)), "stdout": None, "stderr": None},
        "full": {"stdout": full, "stderr": full},
        "a pipe that nobody reads": {},
        "stderr closed": {"preexec_fn": lambda: os.close(2), "stderr": None},
    }
    tried = wrong = 0
    for _ in range(max(1, number // len(ways))):
        for name, options in ways.items():
            Path("out.png").unlink(missing_ok=True)
            child = dipjax("denoise", "photo.png", "-o", "out.png", *SHORT, **options)
            if name.startswith("a pipe"):
                child.stdout.close()
                child.stderr.close()
                child.wait()
            else:
                child.communicate()
            tried += 1
            expected = expected or Path("out.png").read_bytes()
            if child.returncode or Path("out.png").read_bytes() != expected:
                wrong += 1
                print(f"streams: {name}: exit code {child.returncode}", file=sys.stderr)
    return tried, wrong, f"{', '.join(list(ways)[1:])}"


def disks(number, random):
    """Lets the disk be full at every output."""
    del random
    photo("photo.png")
    outputs = {"-o": "out.png", "--json": "out.json", "--curve": "out.csv", "--plot": "plot.png", "--uncertainty": "map.tif"}
    known = ("--stop", "held-out")  # without which the error is not
    tried = wrong = 0
    for _ in range(max(1, number // 6)):
        for limit in (0, 300, 2000, 20000, 60000, 10**9):
            for name in outputs.values():
                Path(name).unlink(missing_ok=True)
            full = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))
            child = dipjax("denoise", "photo.png", *(word for pair in outputs.items() for word in pair), *SHORT, *known, preexec_fn=full)
            code, err = finished(child)
            tried += 1
            there = [name for name in outputs.values() if Path(name).exists()]
            whole = all(_is_whole(name) for name in there)
            if code != (0 if len(there) == len(outputs) else 4) or not whole or not clean(err) or left_over():
                wrong += 1
                print(f"disks: limit {limit}, exit code {code}, {there}: {err[-300:]}", file=sys.stderr)
    return tried, wrong, "each output is whole or not there, the others are written, exit code 4"


def _is_whole(name):
    with contextlib.suppress(Exception):
        if name.endswith(("png", "tif")):
            Image.open(name).load()
        elif name.endswith("json"):
            json.loads(Path(name).read_text())
        else:
            return Path(name).read_text().endswith("\n")
        return True
    return False


def pairs(number, random):
    """Gives two processes one output."""
    del random
    photo("a.png"), photo("b.png", 1)
    expected = {}
    for name in "ab":
        finished(dipjax("denoise", f"{name}.png", "-o", f"{name}.out.png", *SHORT))
        expected[name] = Path(f"{name}.out.png").read_bytes()
    tried = wrong = 0
    for _ in range(number):
        Path("out.png").unlink(missing_ok=True)
        both = [dipjax("denoise", f"{name}.png", "-o", "out.png", *SHORT) for name in "ab"]
        codes = [finished(child)[0] for child in both]
        tried += 1
        wrong += sorted(codes) != [0, 4] or Path("out.png").read_bytes() not in expected.values() or bool(left_over())
    return tried, wrong, "one writes its picture, the other says that it exists already and keeps its own elsewhere"


def folders(number, random):
    """Restores a folder of all that people have, killed twice on the way; compares with one that was left alone."""
    Path("odd").mkdir()
    good, bad = odd_files.write(Path("odd"), number, random)
    before = sorted(path.name for path in Path("odd").iterdir())
    words = ("denoise", "odd", *SHORT)
    _, seconds = timed(lambda: finished(dipjax(*words, "-o", "whole")))
    kept = ("-o", "out", "--checkpoint", "kept", "--checkpoint-every", 0.1)
    on_the_way = 0
    while on_the_way < 2:
        shutil.rmtree("out", ignore_errors=True) if not on_the_way else None
        shutil.rmtree("kept", ignore_errors=True) if not on_the_way else None
        child = dipjax(*words, *kept, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0.05, 0.5) * seconds)
        on_the_way = on_the_way + 1 if child.poll() is None else 0
        child.kill()
        child.wait()
    code, err = finished(dipjax("resume", "kept") if Path("kept/command.json").exists() else dipjax(*words, *kept))
    faults = [f"exit code {code}"] * (code != 1) + [err[-300:]] * (not clean(err)) + [f"left over {path}" for path in left_over()]
    faults += ["a name was obeyed"] * (bool(list(Path().rglob("harm"))) or before != sorted(path.name for path in Path("odd").iterdir()))
    for name, valid in good.items():
        faults += [f"{name!r}: {fault}" for fault in _faults(name, valid)]
    for name in bad:
        record = Path("out", f"{name}.json")
        is_told = record.exists() and "error" in json.loads(record.read_text())
        faults += [f"{name!r}: not told, or restored"] * (not is_told or Path("out", name).exists())
    for fault in faults:
        print(f"folders: {fault}", file=sys.stderr)
    words = f"killed twice and resumed: {len(good)} restored, bit for bit as without; {len(bad)} with an error in their record"
    return len(good) + len(bad), len(faults), words


def _faults(name, valid):
    """Yields what is wrong with a file that was restored."""
    from dipjax import files

    if name.endswith((".gif", ".pbm")):  # which are not written
        name += ".tif" if valid.num_pages > 1 else ".png"
    out, record = Path("out", name), Path("out", f"{name}.json")
    if not (out.exists() and record.exists() and json.loads(record.read_text()).get("ending") == "done"):
        yield f"not done: {record.read_text()[:300] if record.exists() else 'no record'}"
        return
    if out.read_bytes() != Path("whole", name).read_bytes():
        yield "not as without being killed"
    sizes = {files.load(out, page=page).pixels.shape[1::-1] for page in range(files.num_pages(out))}
    if sizes != {valid.size} or files.num_pages(out) != valid.num_pages:
        yield f"{files.num_pages(out)} pages of {sizes}"


class Check(NamedTuple):
    """A part of the table."""

    words: str
    function: Callable
    number: int


# Those that take longest come first, so that the last of them are done side by side.
CHECKS = {
    "kills": Check("SIGKILL while it restores", kills, 200),
    "signals": Check("signals that ask to end", signals, 100),
    "pairs": Check("two processes, one output", pairs, 20),
    "folder": Check("a folder of odd files", folders, 60),
    "pictures": Check("mutated pictures", pictures, 20_000),
    "disks": Check("a full disk", disks, 24),
    "streams": Check("broken streams", streams, 20),
    "writing": Check("SIGKILL while it writes", writing, 300),
    "checkpoints": Check("damaged checkpoints", checkpoints, 2000),
}


def check(name, share):
    """Returns the row of one check, done in an empty folder."""
    _, function, number = CHECKS[name]
    start, before = time.perf_counter(), Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            tried, wrong, words = function(max(1, round(share * number)), np.random.default_rng(0))
        finally:
            os.chdir(before)
    return {"tried": tried, "wrong": wrong, "words": words, "seconds": time.perf_counter() - start}


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    parser = common.parser(__doc__)
    parser.add_argument("--part", nargs="+", choices=CHECKS, default=list(CHECKS), metavar="NAME", help=", ".join(CHECKS))
    parser.add_argument("--share", type=float, default=1.0, help="of all counts")
    parser.add_argument("--jobs", type=int, default=common.num_cores(), help="parts that are done at a time")
    options = parser.parse_args(argv)
    # A shell that sends this to the background lets it, and all that it starts, ignore interruptions, which are what is tried here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(name, signal.SIG_DFL)
    report = common.Report(options.json, {"share": options.share})
    left = [name for name in options.part if name not in report.rows]
    with ProcessPoolExecutor(max(1, options.jobs), multiprocessing.get_context("spawn")) as pool:
        work = {pool.submit(check, name, options.share): name for name in left}
        for done in as_completed(work):
            if done.exception():
                print(f"{work[done]}: broken off, {done.exception()}", file=sys.stderr, flush=True)
                continue
            row = report.get(work[done], done.result)
            print(f"{work[done]}: {row['wrong']} of {row['tried']} wrong, {row['seconds']:.0f} s", file=sys.stderr, flush=True)
    rows = [
        [CHECKS[name].words, *(f"{report.rows[name][key]:,}" for key in ("tried", "wrong")), report.rows[name]["words"]]
        for name in options.part
        if name in report.rows
    ]
    about = f"`{common.command('reliability', argv)}`; {common.made()}."
    common.publish([*common.table(["what was tried", "times", "went wrong", "what is right"], rows), "", about], options.markdown)


if __name__ == "__main__":
    main()
