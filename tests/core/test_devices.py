"""Several devices, faked on the CPU in processes of their own: any number of seeds on any number of them, and no communication."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = """
import sys
import jax, numpy as np
from dipjax.core import layouts as batching, loop as train
from dipjax.operators import problem
from tests.conftest import mixer_recipe, picture

num_devices, num_seeds = int(sys.argv[1]), int(sys.argv[2])
assert jax.local_device_count() == num_devices
task, recipe = problem.denoising(picture()), mixer_recipe(num_steps=10)
alone = train.restore(recipe, train.seeds(0, num_seeds), task, batching=batching.one_by_one)
for inner in (batching.one_by_one, jax.vmap):
    spread = train.restore(recipe, train.seeds(0, num_seeds), task, batching=batching.OverDevices(inner))
    assert spread.images.shape == alone.images.shape
    np.testing.assert_allclose(spread.images, alone.images, atol=1e-5)
    np.testing.assert_allclose(spread.metrics.loss, alone.metrics.loss, rtol=1e-4)

two = problem.stack([task, problem.denoising(picture(seed=1))])
keys = jax.numpy.stack([train.seeds(0, num_seeds)] * 2)
spread, alone = (train.restore(recipe, keys, two, problem_axis=0, batching=layout) for layout in (None, batching.one_by_one))
np.testing.assert_allclose(spread.images, alone.images, atol=1e-5)

assert batching.spread(jax.vmap) == batching.OverDevices(jax.vmap)
layout = batching.default()
assert layout == batching.spread(batching.one_by_one) == batching.OverDevices(batching.one_by_one)
num_filled = getattr(layout, "num_filled", lambda n: n)(num_seeds)
states = train._init_all(recipe, train.seeds(0, num_filled), task, layout, None)
assert len(states.z.sharding.device_set) == min(num_devices, num_seeds)
print(train._run_all.lower(recipe, states, task, 3, layout, None).compile().as_text())
"""


@pytest.mark.parametrize(("num_devices", "num_seeds"), [(2, 4), (4, 3), (8, 5)])
def test_runs_on_several_devices_equal_those_on_one_and_nothing_is_communicated(num_devices, num_seeds):
    environment = (
        os.environ
        | {"JAX_NUM_CPU_DEVICES": str(num_devices), "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
        | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    )
    command = [sys.executable, "-c", SCRIPT, str(num_devices), str(num_seeds)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "while" in done.stdout
    assert not re.search(r"all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter", done.stdout)
