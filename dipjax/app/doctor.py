"""`dipjax doctor`: what this machine has, and whether it works."""

import os
import platform
import shutil
import time
from importlib import metadata
from pathlib import Path

from dipjax.app import startup, streams, trial

_SAFE_PILLOW = (12, 3)  # earlier ones have known holes in their decoders
_PLUGINS = ("jax-cuda12-plugin", "jax-cuda12-pjrt", "jax-cuda13-plugin", "jax-cuda13-pjrt", "libtpu", "jax-metal")


def run() -> int:
    """Says the findings; returns 0, or 1 if JAX cannot compute. What cannot be found out is said as well, and is no failure."""
    versions = {name: _version(name) for name in ("dipjax", "jax", "jaxlib", "flax", "optax", "numpy", "pillow", *_PLUGINS)}
    streams.say(f"python    {platform.python_version()} on {platform.platform()}")
    for name, version in versions.items():
        if version or name not in _PLUGINS:
            streams.say(f"{name:9} {version or 'not installed'}")
    streams.say(f"folder    {_folder()}")
    for name, value in startup.variables().items():
        streams.say(f"variable  {name}={value}")
    error = _compute()
    for warning in [*_warnings(versions), *([error] if error else [])]:
        streams.say(f"WARNING   {warning}")
    return 1 if error else 0


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _folder():
    try:
        folder = Path.cwd()
        free = shutil.disk_usage(folder).free
    except OSError as error:  # somebody has removed it
        return f"cannot be used: {error.strerror}"
    return f"{folder}, {'writable' if os.access(folder, os.W_OK) else 'NOT writable'}, {free / 2**30:.1f} GiB free"


def _warnings(versions):
    jaxlib = versions["jaxlib"]
    for name, version in versions.items():
        if version and name.startswith("jax-cuda") and version != jaxlib:
            yield f"{name} {version} does not match jaxlib {jaxlib}; run: pip install -U 'jax[{name.split('-')[1]}]'"
    pillow = versions["pillow"] or "0"
    if tuple(int(part) for part in pillow.split(".")[:2] if part.isdecimal()) < _SAFE_PILLOW:
        yield f"Pillow {pillow} is older than {'.'.join(map(str, _SAFE_PILLOW))}; update it before opening files of strangers"
    if shutil.which("nvidia-smi") and not any(versions[name] for name in _PLUGINS):
        yield "there is an NVIDIA driver but no JAX plugin for it; in a checkout run: pip install '.[cuda13]' or '.[cuda12]'"


def _advice(num_devices, num_cores):
    if num_devices > 1 or num_cores == 1:
        return ""
    return f"; the commands use one device per core, in Python set JAX_NUM_CPU_DEVICES={num_cores} before JAX starts"


def _cache(jax):
    """Says where compiled programs are kept, without making a folder."""
    from dipjax import shelf  # imports JAX

    if theirs := jax.config.jax_compilation_cache_dir:
        return f"{theirs}, used (JAX_COMPILATION_CACHE_DIR)"
    try:
        folder = startup.cache_folder()
        kept = len(shelf.files(folder, shelf.PROGRAM if jax.default_backend() == "cpu" else "-cache"))
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        return f"none: {error}"
    return f"{folder}, {_use(jax, folder)}, {kept} programs kept"


def _use(jax, folder):
    """Says whether the commands use the programs of a folder."""
    if jax.default_backend() != "cpu":
        return "used by the commands"
    known = trial.verdict(folder)
    if known == trial.FAILS:
        return "used only with --compilation-cache on, because this CPU does not read back what it wrote"
    return "used by the commands" + " once it is known that this CPU reads back what it wrote" * (known is None)


def _compute():
    """Starts JAX, computes a gradient and compares it with NumPy's; returns what went wrong, or None."""
    try:
        startup.start_jax(1)
        import jax
        import numpy as np

        from dipjax.core import layouts
        from dipjax.recipes import choose

        for device in jax.devices():
            streams.say(f"device    {device.id}: {device.device_kind} ({device.platform})")
        if jax.default_backend() == "cpu":
            streams.say(f"cores     {startup.num_cores()}{_advice(jax.local_device_count(), startup.num_cores())}")
        streams.say(f"cache     {_cache(jax)}")
        at_once = layouts.default().at_once or "all"
        streams.say(f"defaults  recipe {choose('denoise').__module__.rpartition('.')[2]}, seeds at a time on each device: {at_once}")
        matrix = np.random.default_rng(0).random((64, 64), np.float32)
        start = time.perf_counter()
        with jax.default_matmul_precision("highest"):
            gradient = jax.jit(jax.grad(lambda x: ((matrix @ x) ** 2).sum()))(matrix)
        if not np.allclose(gradient, 2 * matrix.T @ (matrix @ matrix), rtol=1e-3):
            return "a gradient has the wrong value"
        streams.say(f"test      a gradient is right, compiled and computed in {time.perf_counter() - start:.2f} s")
    except startup.JaxError as error:
        return str(error)
    except Exception as error:
        return f"the test computation failed: {type(error).__name__}: {' '.join(str(error).split())}"
    return None
