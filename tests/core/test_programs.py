"""What is compiled, and how often: one program for a recipe and a size, and none that stays for good."""

import dataclasses
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from dipjax import compiling, vector
from dipjax.core import check, drive, layouts, loop
from dipjax.core.problem import stack
from dipjax.core.recipe import Recipe
from dipjax.fitting import inputs, losses, optimizers, penalties
from dipjax.fitting.optimizers import Adam
from dipjax.large import memory
from dipjax.operators import problem
from dipjax.recipes import fast
from dipjax.stopping import HeldOut
from tests.conftest import PEOPLE, Appointed, Mixer, light_keys, mixer_recipe, num_compiled, picture

pytestmark = pytest.mark.usefixtures("quick_compilation")

RECIPE = mixer_recipe()
TASK = problem.denoising(picture(), truth=picture(seed=1))
LAYOUTS = pytest.mark.parametrize("layout", [layouts.ONE_BY_ONE, layouts.Layout(2)], ids=["one by one", "in twos"])


@pytest.fixture
def compiled(caplog):
    """Returns a function that runs another and counts the programs that were compiled for it, of few, so that none is forgotten."""
    compiling.forget()

    return partial(num_compiled, caplog)


def part_of(keys):
    """Takes a key from an array: JAX has a small program for every length."""
    return keys.reshape(-1)[0]


def test_the_counter_counts(compiled):
    assert compiled(lambda: jax.jit(lambda x: x + 1)(1.0)) >= 1


@dataclass(frozen=True)
class Counted:
    """A generator that counts how often it is traced."""

    inner: Mixer
    calls: list = field(default_factory=list, compare=False)

    def init(self, key, z):
        self.calls.append("init")
        return self.inner.init(key, z)

    def apply(self, params, z):
        self.calls.append("apply")
        return self.inner.apply(params, z)


@LAYOUTS
def test_nothing_is_traced_twice_from_the_look_at_the_memory_to_the_last_step(layout):
    jax.clear_caches()
    generator = Counted(Mixer())
    recipe = dataclasses.replace(mixer_recipe(stopping=HeldOut()), generator=generator)
    memory.needed(recipe, TASK, 2, layout)
    drive.restore(recipe, drive.seeds(0, 2), TASK, num_steps=2, batching=layout)
    # For the shapes in the first state, and in a step, with the parameters as one vector.
    assert (generator.calls.count("init"), generator.calls.count("apply")) == (1, 2)


@dataclass(frozen=True)
class SameAdam:
    """Adam, of which nobody knows that it treats all numbers alike."""

    def __call__(self, progress):
        return Adam(0.01, optimizers.Cosine())(progress)


@pytest.mark.parametrize("backtracking", [None, 0.5])
def test_parameters_as_one_vector_give_the_numbers_of_parameters_as_a_tree(backtracking):
    made = {}
    for optimizer in (Adam(0.01, optimizers.Cosine()), SameAdam()):
        recipe = mixer_recipe(optimizer=optimizer, backtracking=backtracking, stopping=HeldOut(), input_noise=0.1)
        made[optimizer] = drive.restore(recipe, light_keys(2), TASK, num_steps=20)
    vector, tree = made.values()
    assert jax.tree.structure(vector.state.params) == jax.tree.structure(tree.state.params)
    chex.assert_trees_all_close((vector.state.params, vector.images), (tree.state.params, tree.images), rtol=1e-4, atol=1e-6)


@dataclass(frozen=True)
class ByArray(Adam):
    """Adam whose updates are scaled array by array: what it inherits does not hold for it."""

    def __call__(self, progress):
        return optax.chain(super().__call__(progress), optax.scale_by_trust_ratio())


@dataclass(frozen=True)
class RemembersTree:
    """Says that it treats all numbers alike, and remembers a tree of them."""

    is_elementwise = True

    def __call__(self, progress):
        return optax.adam(0.01)


@pytest.mark.parametrize("optimizer", [ByArray(0.01), RemembersTree()])
def test_an_optimizer_gets_a_vector_only_where_it_says_so_itself_and_remembers_one(optimizer):
    recipe = mixer_recipe(optimizer=optimizer)
    state = loop.init(recipe, light_keys(1)[0], TASK)
    assert vector.for_vector(recipe, state) is recipe
    assert np.isfinite(drive.restore(recipe, light_keys(2), TASK, num_steps=2).images).all()


FUSED = re.compile(r"= \S+ fusion\(.*kind=kLoop")


@pytest.mark.slow
@pytest.mark.skipif(jax.default_backend() != "cpu" or jax.__version_info__[:2] != (0, 10), reason="counted with the compiler of JAX 0.10")
def test_the_program_of_a_fast_step_stays_small():
    """Its compilation is most of the time until the first step. Commit 82e2530: 655 kernels, 22,552 lines; since then 449, 14,004."""
    task = problem.denoising(np.zeros((64, 64, 3), np.float32))
    recipe = dataclasses.replace(fast.denoising(3).recipe, stopping=HeldOut())
    state = check.first_state(recipe, jax.random.key(0), task)
    text = loop.chunk.lower(recipe, state, task, np.int32(1), np.int32(1)).compile().as_text()
    assert len(FUSED.findall(text)) < 460 and text.count("\n") < 14_500


@LAYOUTS
def test_neither_the_number_of_steps_nor_of_seeds_nor_the_total_compiles_anything_new(compiled, layout):
    def go(num_steps, num_seeds, seed, **how):
        task = problem.denoising(picture(seed=seed), truth=picture(seed=seed + 1))
        result = drive.restore(RECIPE, light_keys(8)[:num_seeds], task, num_steps=num_steps, batching=layout, **how)
        return result.image, result.std, result.state

    assert compiled(lambda: go(3, 4, 0)) > 0
    for num_keys in (6, 8):
        part_of(light_keys(8)[:num_keys])
    assert compiled(lambda: go(5, 4, 1)) == 0
    assert compiled(lambda: go(1200, 4, 2)) == 0
    assert compiled(lambda: go(10**9, 6, 3, callback=lambda now: now.num_steps > 0)) == 0
    assert compiled(lambda: go(2, 8, 4)) == 0


def test_runs_that_have_ended_compile_nothing_new(compiled):
    keys = light_keys(4)
    states = drive.restore(RECIPE, keys, TASK, num_steps=2).state
    assert compiled(lambda: drive.restore(RECIPE, states, TASK, num_steps=4)) == 0
    dead = states._replace(alive=np.array([True, False, True, False]))
    assert compiled(lambda: drive.restore(RECIPE, dead, TASK, num_steps=4)) == 0


def test_runs_that_are_put_together_compile_nothing_new(compiled):
    tasks = stack([problem.denoising(np.full((9, 8, 1), end, np.float32)) for end in (3, 60, 4, 70)])

    def go():
        recipe, how = mixer_recipe(stopping=Appointed()), {"num_steps": 80, "problem_axis": 0, "batching": layouts.Layout(2)}
        return list(drive.iterate(recipe, light_keys(4), tasks, chunk_seconds=0, **how))[-1].state

    assert compiled(go, "_advance") == 1
    assert compiled(go) == 0


def test_restore_and_run_take_the_program_of_init_and_have_one_each(compiled):
    key = light_keys(4)[1]
    part_of(key)
    loop.run(RECIPE, loop.init(RECIPE, key, TASK), TASK, 5)
    assert compiled(lambda: drive.restore(RECIPE, key, TASK, num_steps=3), "begun") == 0
    for num_steps in (9, np.int64(8)):
        assert compiled(lambda num_steps=num_steps: drive.restore(RECIPE, key, TASK, num_steps=num_steps)) == 0
        assert compiled(lambda num_steps=num_steps: loop.run(RECIPE, loop.init(RECIPE, key, TASK), TASK, 3, num_steps)) == 0


def spelled(n):
    """The same recipe, spelled in three ways."""
    noise, adam = [
        (inputs.Noise(), Adam()),
        (inputs.Noise(32), Adam(0.01)),
        (inputs.Noise(depth=np.int64(32)), Adam(schedule=optimizers.Constant())),
    ][n]
    loss = [losses.Huber(), losses.Huber(0.1), losses.Huber(delta=0.1)][n]
    penalty = [penalties.TotalVariation(1), penalties.TotalVariation(1.0, 1e-3), penalties.TotalVariation(weight=np.float64(1))][n]
    return Recipe(Mixer(), noise, adam, loss, penalty)


def test_equal_recipes_however_spelled_share_one_program(compiled):
    drive.restore(spelled(0), light_keys(4)[0], TASK, num_steps=2)
    before = drive._advance.num_ready
    assert compiled(lambda: [drive.restore(spelled(n), light_keys(4)[0], TASK, num_steps=2) for n in (0, 1, 2)]) == 0
    assert drive._advance.num_ready == before


def test_problems_with_other_arrays_share_one_program_and_other_operators_do_not(compiled):
    def go(task):
        return drive.restore(RECIPE, light_keys(4)[0], task, num_steps=1)

    known = [picture(seed=n) > 0.5 for n in range(2)]
    go(problem.inpainting(picture(), known[0]))
    assert compiled(lambda: go(problem.inpainting(picture(), known[1]))) == 0
    assert compiled(lambda: go(problem.deblurring(picture(), np.ones((2, 2))))) > 0


@struct.dataclass
class Darker:
    factor: jax.Array

    def __call__(self, image):
        return image * self.factor


@struct.dataclass
class Brighter:
    """Has the fields of the other, so that JAX 0.10 takes it for the other."""

    factor: jax.Array

    def __call__(self, image):
        return image + self.factor


def test_operators_that_others_made_with_flax_are_not_taken_for_one_another():
    losses = [
        drive.restore(
            RECIPE, light_keys(2)[0], problem.general(picture(), make(np.float32(0.5)), shape=picture().shape), num_steps=1
        ).metrics.loss
        for make in (Darker, Brighter, Darker)
    ]
    assert losses[0] == losses[2] != losses[1]


def num_maps():
    return len(Path("/proc/self/maps").read_text().splitlines())


def restore_sizes(sizes, batching):
    """Returns the memory maps of the process after a restoration of every size."""
    found = []
    for n in sizes:
        drive.restore(RECIPE, light_keys(2), problem.denoising(np.full((n, 9, 1), 0.5, np.float32)), num_steps=1, batching=batching)
        found.append(num_maps())
    return found


linux = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="memory maps are counted on Linux")


@linux
@pytest.mark.parametrize(
    "batching", [layouts.ONE_BY_ONE, pytest.param(layouts.TOGETHER, marks=pytest.mark.slow)], ids=["one by one", "together"]
)
def test_programs_do_not_pile_up(batching, monkeypatch):
    """With room for two programs the maps stop growing; with room for many they would not."""
    jax.clear_caches()
    growing = np.diff(restore_sizes(range(10, 13), batching))
    assert growing.min() > 5
    monkeypatch.setattr(drive, "_MOST_PROGRAMS", 2)
    bounded = restore_sizes(range(20, 24), batching)
    assert max(bounded) - min(bounded) < 1.5 * growing.max()


SIXTY_SIZES = """
from pathlib import Path
import numpy as np
from dipjax.core import drive
from dipjax.operators import problem
from dipjax.recipes import fast

for n in range(60):
    task = problem.denoising(np.full((16 + n, 24, 3), 0.5, np.float32))
    result = drive.restore(fast.denoising(3).recipe, drive.seeds(0, 2), task, num_steps=1)
    assert result.alive.all() and result.image.shape == task.shape
    print(len(Path("/proc/self/maps").read_text().splitlines()), flush=True)
"""


@linux
@pytest.mark.longest
def test_a_process_that_restores_sixty_sizes_with_the_fast_recipe_lives():
    """From the thirteenth size on, programs are forgotten; until then they must fit with room to spare. Compiled as people's are."""
    done = subprocess.run([sys.executable, "-c", SIXTY_SIZES], env=os.environ | PEOPLE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [int(line) for line in done.stdout.split()]
    assert len(found) == 60
    assert max(found) < 45_000 and max(found[12:]) < 1.5 * max(found[:12]), found  # five times as many, were nothing forgotten


def test_a_run_that_was_forgotten_in_between_goes_on_unharmed(monkeypatch):
    """Programs are forgotten by another restoration in the middle of a run; that compiles again, to the same end."""
    results = drive.iterate(RECIPE, light_keys(4), TASK, num_steps=6, chunk_seconds=0)
    next(results), next(results)
    monkeypatch.setattr(drive, "_MOST_PROGRAMS", 0)
    drive.restore(RECIPE, light_keys(4)[0], problem.denoising(picture(5, 5)), num_steps=1)
    *_, last = results
    assert jnp.array_equal(last.images, drive.restore(RECIPE, light_keys(4), TASK, num_steps=6).images)
