"""Several devices, faked on the CPU in processes of their own: any number of runs on any number of them, and no communication."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PEOPLE

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from functools import partial
import jax, numpy as np
from dipjax.core import drive, layouts, loop
from dipjax.core.problem import stack
from dipjax.operators import problem
from tests.conftest import light_keys, mixer_recipe, picture

num_devices, num_seeds = int(sys.argv[1]), int(sys.argv[2])
assert jax.local_device_count() == num_devices
task, recipe, keys = problem.denoising(picture()), mixer_recipe(), light_keys(num_seeds)
programs = []
for layout in (layouts.ONE_BY_ONE, layouts.TOGETHER, layouts.Layout(2, 2)):
    result = drive.restore(recipe, keys, task, num_steps=5, batching=layout)
    assert result.images.shape == (num_seeds, 9, 8, 1) and result.metrics.loss.shape == (num_seeds, 5)
    for k in range(num_seeds):
        state, metrics = loop.run(recipe, loop.init(recipe, keys[k], task), task, 5)
        np.testing.assert_allclose(result.images[k], state.average, atol=1e-5)
        np.testing.assert_allclose(result.metrics.loss[k], metrics.loss, rtol=1e-4)
    resumed = drive.restore(recipe, result.state, task, num_steps=8, batching=layout)
    whole = drive.restore(recipe, keys, task, num_steps=8, batching=layout)
    np.testing.assert_array_equal(resumed.images, whole.images) if layout is layouts.ONE_BY_ONE else None

two = stack([task, problem.denoising(picture(seed=1))])
pairs = jax.random.split(keys[0], (2, num_seeds))
spread, alone = (
    drive.restore(recipe, pairs, two, problem_axis=0, num_steps=5, batching=layout) for layout in (None, layouts.Layout(1, 1))
)
np.testing.assert_allclose(spread.images, alone.images, atol=1e-5)

layout = layouts.default().fitted(num_seeds)
assert layout.num_devices == min(num_devices, num_seeds)
print("WIDTH", layout.width)
group = jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *[loop.init(recipe, keys[k % num_seeds], task) for k in range(layout.width)])
leaves, structure = jax.tree.flatten(task)
own = [None] * len(leaves)
program = drive._advance.lower(recipe, layout, structure, group, own, leaves, 3, 5).compile()
states, _ = program(group, own, leaves, 3, 5)
assert len(states.z.sharding.device_set) == layout.num_devices
print(program.as_text())
try:
    layouts.Layout(1, num_devices + 1).fitted(num_devices + 1)
except ValueError as error:
    assert str(error).startswith("num_devices: found")
else:
    raise AssertionError("more devices than there are")
"""
COLLECTIVES = r"all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter|collective-broadcast|partition-id"


def run(script, num_devices, *arguments):
    environment = (
        os.environ
        | {"JAX_NUM_CPU_DEVICES": str(num_devices), "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
        | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
        | PEOPLE
    )
    command = [sys.executable, "-c", script, str(num_devices), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("num_devices", "num_seeds"), [(2, 3), pytest.param(4, 2, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_runs_on_several_devices_equal_those_alone_and_nothing_is_communicated(num_devices, num_seeds):
    program = run(SCRIPT, num_devices, num_seeds)
    assert "while" in program and f"num_partitions={min(num_devices, num_seeds)}" in program
    assert not re.search(COLLECTIVES, program)


SUM = """
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
mesh = Mesh(np.asarray(jax.local_devices()), ("runs",))
spread = jax.device_put(np.ones((4, 3), np.float32), NamedSharding(mesh, PartitionSpec("runs")))
print(jax.jit(lambda x: x.sum(0)).lower(spread).compile().as_text())
"""


def test_what_is_communicated_would_be_found():
    assert re.search(COLLECTIVES, run(SUM, 2))


def test_nothing_is_traced_twice_on_several_devices_either():
    script = """
import dataclasses
from dipjax.core import drive
from dipjax.large import memory
from tests.conftest import Mixer, mixer_recipe
from tests.core.test_programs import TASK, Counted

generator = Counted(Mixer())
recipe = dataclasses.replace(mixer_recipe(), generator=generator)
memory.needed(recipe, TASK, 2)
drive.restore(recipe, drive.seeds(0, 2), TASK, num_steps=2)
print(*generator.calls)
"""
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["init", "apply", "apply"], done.stderr


@pytest.mark.slow
def test_all_chunks_share_one_program_also_on_several_devices():
    script = """
import logging
import jax
from dipjax.core import drive
from dipjax.operators import problem
from tests.conftest import mixer_recipe, picture

class Count(logging.Handler):
    def emit(self, record):
        found.append("Finished XLA compilation of jit(_advance)" in record.getMessage())

found = []
jax.config.update("jax_log_compiles", True)
logging.getLogger("jax").addHandler(Count())
list(drive.iterate(mixer_recipe(), drive.seeds(0, 4), problem.denoising(picture()), num_steps=7, chunk_seconds=0))
print(sum(found))
"""
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "1", done.stderr
