"""Processes of `jax.distributed` on this machine: together they restore what one would, and what fails in one is told by all."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 300  # seconds
SCRIPT = """
import os, signal, sys
import jax, numpy as np
from dipjax import stopping
from dipjax.core import drive, layouts
from dipjax.core.problem import stack
from dipjax.large import pod
from dipjax.operators import problem
from tests.conftest import light_keys, mixer_recipe, picture

index, how = int(sys.argv[1]), {"coordinator_address": sys.argv[2], "num_processes": 2, "process_id": int(sys.argv[1])}
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(**how, heartbeat_timeout_seconds=int(sys.argv[3]), shutdown_timeout_seconds=60)
assert jax.process_count() == 2 and jax.local_device_count() == 1
task, recipe = problem.denoising(picture(16, 16)), mixer_recipe()


def same(one, other):
    plain = lambda leaf: np.asarray(jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(plain(a), plain(b), strict=True)


def equal(recipe, key, task, **more):
    together, alone = (restore(recipe, key, task, **more) for restore in (pod.restore, drive.restore))
    for name in ("images", "image", "std", "alive", "num_steps", "over_seeds", "stopped", "steps", "best_steps", "left_out"):
        np.testing.assert_array_equal(getattr(together, name), getattr(alone, name), name)
    same(together.metrics, alone.metrics)
    same(together.state, alone.state)
    return together
"""
EQUAL = """
three = equal(recipe, light_keys(3), task, num_steps=7)
assert three.images.shape == (3, 16, 16, 1)
seen = []
pod.restore(recipe, light_keys(3), task, num_steps=7, callback=lambda result: seen.append((result.num_steps, len(result.images))) or True)
assert seen[0] == (0, 2) and seen[-1] == (7, 2), seen
equal(recipe, three.state, task, num_steps=9)
equal(recipe, light_keys(1)[0], task, num_steps=3)
two = stack([task, problem.denoising(picture(16, 16, seed=1))])
equal(recipe, jax.random.split(light_keys(1)[0], (2, 3)), two, problem_axis=0, num_steps=3)
equal(recipe, light_keys(2), two, problem_axis=0, num_steps=3)
rule = stopping.HeldOut(patience=0.2, least=3, tolerance=0)
stopped = equal(mixer_recipe(stopping=rule), light_keys(3), task, num_steps=200)
assert len(set(stopped.steps.tolist())) > 1, "the seeds of this test stop at different steps"
print("all")
"""


def start(code, patience):
    """Starts two processes that run a program, each on one device; after so many seconds of silence one counts as lost."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        address = f"localhost:{listener.getsockname()[1]}"
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"JAX_NUM_CPU_DEVICES": "1", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    return [subprocess.Popen([sys.executable, "-c", SCRIPT + code, str(index), address, str(patience)], **pipes) for index in range(2)]


def ended(code, patience=60):
    """Runs a program in two processes; returns their exit codes, and what they wrote and complained of."""
    children = start(code, patience)
    try:
        said = [child.communicate(timeout=LONGEST) for child in children]
    finally:
        for child in children:
            child.kill()
            child.communicate()
    return [(child.returncode, *words) for child, words in zip(children, said, strict=True)]


@pytest.mark.slow
def test_two_processes_restore_bit_for_bit_what_one_does():
    for code, out, err in ended(EQUAL):
        assert code == 0 and out.endswith("all\n"), err


FAILURES = """
from contextlib import contextmanager

@contextmanager
def told(mine, theirs):
    try:
        yield
    except Exception as error:
        found, words = f"{type(error).__name__}: {error}", mine if index else theirs
        assert found.startswith(words), found
    else:
        raise AssertionError("nothing failed")

keys, wide = light_keys(3), task.replace(shape=(16, 17, 1))
with told("ValueError: operator: found", "RuntimeError: process 1 of 2: ValueError: operator: found"):
    pod.restore(recipe, keys, wide if index else task, num_steps=3)
for other in ({"key": light_keys(2 + index)}, {"problem": problem.denoising(picture(16, 16, seed=index))}, {"num_steps": 3 + index}):
    with told(*["RuntimeError: process 1 of 2: it was asked for something else"] * 2):
        pod.restore(recipe, **{"key": keys, "problem": task, "num_steps": 3} | other)
equal(recipe, keys, task, num_steps=2)
print("all")
"""


@pytest.mark.slow
def test_what_fails_in_one_is_told_by_all_and_the_next_call_works():
    for code, out, err in ended(FAILURES):
        assert code == 0 and out.endswith("all\n"), err


@pytest.mark.slow
def test_a_process_that_is_lost_ends_the_others():
    code = """
if index:
    os.kill(os.getpid(), signal.SIGKILL)
pod.restore(recipe, light_keys(3), task, num_steps=3)
print("all")
"""
    (status, out, _), (killed, _, _) = ended(code, patience=10)
    assert killed == -9 and status and "all" not in out
