"""What the command line sets before JAX starts: the number of CPU devices, short loops, huge pages, and where compiled programs are kept;
and how it starts JAX.

Only a program may do this; the library leaves JAX as it finds it, and what the user has set counts for both. To add a setting, add a
function that changes nothing where the user has decided.
"""

import contextlib
import hashlib
import os
import platform
import re
import stat
import sys
import textwrap
from pathlib import Path

from dipjax.app import signals, trial
from dipjax.machine import num_cores, variables

_LEAST_SECONDS = 0.2  # a program that compiled faster is not kept
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class JaxError(RuntimeError):
    """Says in one sentence why JAX cannot be used."""


def start_jax(num_runs: int) -> None:
    """Imports JAX with as many CPU devices as suit so many runs, and finds its devices; raises a `JaxError` if that fails."""
    theirs = variables()
    use_cores(num_runs)
    use_short_loops()
    try:
        import jax

        jax.devices()
    except Exception as error:
        raise JaxError(explain_jax(error, theirs)) from error


def explain_jax(error: Exception, variables: dict[str, str]) -> str:
    """Returns one sentence on why JAX did not start; it names the variable that is wrong, or all that may be."""
    words = textwrap.shorten(str(error), 300) or type(error).__name__
    named = [name for name, value in variables.items() if name.lower() in words.lower() or _mentions(words, value)]
    if suspects := named or list(variables):
        settings = " and ".join(f"{name}={variables[name]}" for name in suspects)
        return f"JAX cannot be started: {words}; is {settings} in the environment right?"
    if isinstance(error, ImportError):
        return f"JAX cannot be imported: {words}; install it anew with: pip install -U jax"
    return f"JAX cannot be started: {words}"


def _mentions(words, value):
    return bool(value) and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", words) is not None


def use_no_screen() -> None:
    """Has matplotlib draw into files only: it cannot even be imported where the variable names a backend that it does not know."""
    os.environ["MPLBACKEND"] = "agg"


def use_cores(num_runs: int) -> None:
    """Asks JAX for one CPU device per core, but no more than runs: small convolutions do not fill two cores, two runs do.

    A single run keeps all cores for one device. It comes before the import of JAX, or does nothing. Where there is a GPU or a TPU, JAX
    computes there and the CPU devices stay idle.
    """
    decided = "JAX_NUM_CPU_DEVICES" in os.environ or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not decided and "jax" not in sys.modules:
        os.environ["JAX_NUM_CPU_DEVICES"] = str(min(num_cores(), num_runs))


def use_short_loops() -> None:
    """Asks XLA not to unroll the loops of its kernels for a CPU: they are compiled in two thirds of the time and run as fast.

    There is no such option for a single program. Options of the user for XLA's code generator count, and flags in a file are left alone.
    It comes before the import of JAX, or does nothing.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    decided = "xla_backend_extra_options" in flags or (flags.strip() and not flags.strip().startswith("--"))
    if not decided and "jax" not in sys.modules:
        os.environ["XLA_FLAGS"] = f"{flags} {SHORT_LOOPS}".strip()


SHORT_LOOPS = "--xla_backend_extra_options=xla_cpu_disable_loop_unrolling"


def use_huge_pages() -> None:
    """Starts this program again with memory in huge pages, where Linux offers them to programs that ask and nobody has decided.

    A step works through hundreds of megabytes that are mapped anew in every call. In pages of 4 KiB that costs a fifth of its time
    (benchmarks/PERFORMANCE.md). glibc reads the switch only when a process starts, so this comes before any other work.
    """
    if "GLIBC_TUNABLES" in os.environ or not sys.executable or not _huge_pages_wait_to_be_asked_for():
        return
    sys.stdout.flush()
    sys.stderr.flush()
    with signals.held(), contextlib.suppress(OSError):
        if not signals.requested():  # which would be forgotten
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | HUGE_PAGES)


HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # from glibc 2.35 on, which older ones ignore


def _huge_pages_wait_to_be_asked_for():
    try:
        return "[madvise]" in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except OSError:
        return False


def use_cache(choice: str) -> str | None:
    """Keeps compiled programs for the next start: "on", "off", or "auto", for on except on a CPU that does not read back what it wrote.

    Comes before the first computation. For a CPU they are kept on the `shelf`, which spares tracing too; for other devices in the cache of
    JAX. On a new CPU a process beside this one finds out how it is, see `trial`; until that is known, programs are written and not read.
    What is in use stays so for the next picture.

    Returns:
      Why the wish could not be fulfilled, or None.
    """
    import jax

    from dipjax import shelf

    if choice == "off":
        shelf.use(None)
        return None
    if jax.config.jax_compilation_cache_dir or shelf.is_used():
        return None
    wished = choice == "on" or jax.default_backend() != "cpu"
    try:
        folder = cache_folder()
        _make_private(folder)
        known = wished or _known_to_work(folder)
        is_on = known or (known is None and not shelf.files(folder))
        if is_on and jax.default_backend() == "cpu":
            shelf.use(folder, reads=known is not None)
            return None
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        return f"compiled programs are not kept: {error}" if wished else None
    if is_on:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    return None


def _known_to_work(folder):
    """Says whether what is written to a folder can be read; None where that is open, and a trial has begun."""
    known = trial.verdict(folder)
    if known is None:
        trial.begin(folder)
    return known and known == trial.WORKS


def cache_folder() -> Path:
    """Returns where compiled programs are kept, one folder for each version of jaxlib and kind of device; of CPUs for each set of
    instructions, as a `shelf`."""
    import jax
    import jaxlib

    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = base if base.is_absolute() else Path.home() / ".cache"
    kind = jax.default_backend()
    where, more = ("shelf", _instructions()) if kind == "cpu" else ("xla", "")
    return base / "dipjax" / where / f"{jaxlib.__version__}-{kind}{more}"


def _instructions():
    """Returns a short name for what this CPU can do: a home may be shared by many machines."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        known = next((line for line in lines if line.startswith(("flags", "Features"))), "")
        return "-" + hashlib.sha256(f"{platform.machine()} {known}".encode()).hexdigest()[:12]
    return "-" + hashlib.sha256(repr(platform.uname()[4:]).encode()).hexdigest()[:12]


def _make_private(folder):
    """Makes a folder and its parents up to the cache's; refuses them where others could write, and with that run code as the user."""
    for path in (*reversed(folder.parents[:3]), folder):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
        if hasattr(os, "getuid") and (
            status.st_uid != os.getuid() or status.st_mode & _WRITABLE_BY_OTHERS or not stat.S_ISDIR(status.st_mode)
        ):
            raise PermissionError(f"{str(path)!r} is a link, belongs to someone else or is writable by others")
