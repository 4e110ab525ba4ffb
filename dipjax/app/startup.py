"""What the command line sets before JAX starts: the number of CPU devices, huge pages, and where compiled programs are kept.

Only a program may do this; the library leaves JAX as it finds it, and what the user has set counts for both. To add a setting, add a
function that changes nothing where the user has decided.
"""

import contextlib
import os
import stat
import sys
from pathlib import Path

_LEAST_SECONDS = 0.5  # a program that compiled faster is not kept
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class Unusable(RuntimeError):
    """Says why JAX cannot compute here."""


def num_cores() -> int:
    """Returns how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def use_cores(num_runs: int) -> None:
    """Asks JAX for one CPU device per core, but no more than runs: small convolutions do not fill two cores, two runs do.

    A single run keeps all cores for one device. It comes before the import of JAX, or does nothing. Where there is a GPU or a TPU, JAX
    computes there and the CPU devices stay idle.
    """
    decided = "JAX_NUM_CPU_DEVICES" in os.environ or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not decided and "jax" not in sys.modules:
        os.environ["JAX_NUM_CPU_DEVICES"] = str(min(num_cores(), num_runs))


def use_huge_pages() -> None:
    """Starts this program again with memory in huge pages, where Linux offers them to programs that ask and nobody has decided.

    A step works through hundreds of megabytes that are mapped anew in every call. In pages of 4 KiB that costs a fifth of its time
    (benchmarks/PERFORMANCE.md). glibc reads the switch only when a process starts, so it comes before any other work.
    """
    if "GLIBC_TUNABLES" in os.environ or not sys.executable or not _huge_pages_wait_to_be_asked_for():
        return
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | HUGE_PAGES)


HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # from glibc 2.35 on, which older ones ignore


def _huge_pages_wait_to_be_asked_for():
    try:
        return "[madvise]" in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except OSError:
        return False


def check_jax() -> None:
    """Imports JAX and asks for its devices.

    Raises:
      Unusable: that fails, for example because a variable of the environment asks for what is not there.
    """
    try:
        import jax

        jax.devices()
    except Exception as error:
        names = [name for name in sorted(os.environ) if name.startswith(("JAX_", "XLA_"))]
        hint = f"; is it for {', '.join(f'{name}={os.environ[name]}' for name in names)}?" if names else ""
        raise Unusable(f"JAX does not work here: {error}{hint}") from error


def use_no_window() -> None:
    """Has matplotlib draw into files, whatever MPLBACKEND asks for."""
    os.environ["MPLBACKEND"] = "agg"


def use_cache(choice: str) -> str | None:
    """Keeps compiled programs for the next start: "on", "off", or "auto" for on except on CPU. Comes before the first computation.

    On CPU it must be asked for, because jaxlib does not everywhere read back there what it wrote.

    Returns:
      Why the wish could not be fulfilled, or None.
    """
    import jax

    if jax.config.jax_compilation_cache_dir or choice == "off" or (choice == "auto" and jax.default_backend() == "cpu"):
        return None
    try:
        folder = cache_folder()
        _make_private(folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        return f"compiled programs are not kept: {error}"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    return None


def cache_folder() -> Path:
    """Returns where compiled programs are kept, one folder for each version of jaxlib and kind of device."""
    import jax
    import jaxlib

    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = base if base.is_absolute() else Path.home() / ".cache"
    return base / "dipjax" / "xla" / f"{jaxlib.__version__}-{jax.default_backend()}"


def _make_private(folder):
    """Makes a folder and its parents up to the cache's; refuses them where others could write, and with that run code as the user."""
    for path in (*reversed(folder.parents[:3]), folder):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
        if hasattr(os, "getuid") and (
            status.st_uid != os.getuid() or status.st_mode & _WRITABLE_BY_OTHERS or not stat.S_ISDIR(status.st_mode)
        ):
            raise PermissionError(f"{str(path)!r} is a link, belongs to someone else or is writable by others")
