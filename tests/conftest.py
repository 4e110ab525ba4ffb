"""What the tests of the core share: tiny pictures, a generator that compiles in no time, and the smallest real one."""

import logging
import mmap
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest

from dipjax import hashing
from dipjax.app import startup, trial
from dipjax.core.drive import seeds
from dipjax.core.recipe import Recipe
from dipjax.fitting import inputs
from dipjax.fitting.optimizers import Adam
from dipjax.stopping import Best, Verdict

ADAM = Adam(0.01)
TINY = {"down": (4, 4), "up": (4, 4), "skip": (2, 2)}


def compile_with(*flags):
    """Gives XLA, here and in child processes, those of the flags that it knows: it ends the process at one that it does not know."""
    for path in Path(jaxlib.__file__).parent.glob("libjax_common.*"):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as code:
            known = [f"--{flag}" for flag in flags if code.find(flag.partition("=")[0].encode()) >= 0]
        os.environ["XLA_FLAGS"] = " ".join([*known, os.environ.get("XLA_FLAGS", "")]).strip()


# The older emitters of loops compile in a quarter of the time, and the tests compile thousands of programs that run for a millisecond.
PEOPLE = {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "")}  # the environment of a process that compiles as people's do
compile_with("xla_cpu_use_fusion_emitters=false", "xla_cpu_parallel_codegen_split_count=1")


# A shell that sends the tests to the background lets them ignore interruptions, `nohup` hangups too, and children inherit that.
for _name, _default in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL), ("SIGTERM", signal.SIG_DFL)):
    if hasattr(signal, _name) and signal.getsignal(getattr(signal, _name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, _name), _default)


@pytest.fixture(autouse=True, scope="session")
def _no_programs_of_the_user(tmp_path_factory):
    """Lets no command read what the user has kept, nor keep anything, nor try in processes of its own whether it could."""
    home = tmp_path_factory.mktemp("cache")
    home.chmod(0o700)
    os.environ["XDG_CACHE_HOME"] = str(home)
    folder = startup.cache_folder()
    folder.mkdir(parents=True, mode=0o700)
    (folder / "verdict").write_text(trial.FAILS)


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Every compiled program keeps memory maps, of which Linux allows a process 65,530: the whole suite would come to need more."""
    yield
    jax.clear_caches()


def num_compiled(caplog, function, name=""):
    """Returns how many programs were compiled, whose names have this in them, while a function ran, in all of its threads."""
    caplog.clear()
    jax.config.update("jax_log_compiles", True)
    try:
        with caplog.at_level(logging.WARNING):
            function()
    finally:
        jax.config.update("jax_log_compiles", False)
    messages = [record.getMessage() for record in caplog.records]
    return sum("Finished XLA compilation" in message and name in message for message in messages)


@dataclass(frozen=True)
class Mixer:
    """Mixes the channels of z pixel by pixel: no flax, two arrays, any number of axes of space, and it compiles fast."""

    channels: int = 1

    def init(self, key, z):
        weight = jax.random.normal(key, (z.shape[-1], self.channels), z.dtype)
        return {"weight": weight, "bias": jnp.zeros(self.channels, z.dtype)}

    def apply(self, params, z):
        return jax.nn.sigmoid(z @ params["weight"] + params["bias"])


@dataclass(frozen=True)
class Appointed:
    """Stops every run at the step that its measurement names, and gives the estimate of that moment."""

    def init(self, key, task, estimate):
        del key, task
        return Best(jnp.float32(jnp.inf), jnp.int32(0), estimate)

    def update(self, memory, look):
        stop = look.step + 1 >= look.problem.measurement[0, 0, 0]
        best = Best(-look.step.astype(jnp.float32), look.step, look.estimate)
        return Verdict(best, best, best.score, stop)


def light_keys(num_keys):
    """Returns seeds whose numbers compile in half of the time."""
    return seeds(hashing.light(jax.random.key(0)), num_keys)


def picture(height=9, width=8, channels=1, seed=0):
    return np.random.default_rng(seed).random((height, width, channels), np.float32)


def mixer_recipe(channels=1, **options):
    options = {"optimizer": ADAM, "input_noise": 0.03, "smoothing": 0.9} | options
    return Recipe(Mixer(channels), inputs.Noise(4, scale=1.0), **options)


def skip_recipe(channels=1):
    from dipjax.generators.skip import Skip

    return Recipe(Skip(channels, **TINY), inputs.Noise(4), ADAM, input_noise=0.03)


@pytest.fixture(scope="module")
def quick_compilation():
    """Compiles without LLVM's optimisations: the tests of the core compile hundreds of programs that run for a millisecond."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
