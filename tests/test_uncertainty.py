"""The error that is estimated without a truth, on made-up seeds of which the error is known."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dipjax import uncertainty
from dipjax.core.recipe import MSE
from dipjax.core.state import Metrics, Result
from dipjax.operators import problem
from dipjax.stopping import Look, Samples

SIDE = 96


def seeds(num_seeds, *, common, noise, channels=1, kind="gauss", seed=0):
    """Seeds that err where the picture is rough, all by the same and each by its own; and a measurement.

    Returns:
      The result, the problem, and the truth.
    """
    random = np.random.default_rng(seed)
    x = np.linspace(0, 1, SIDE)
    truth = np.broadcast_to((0.2 + 0.6 * x)[:, None, None], (SIDE, SIDE, channels))
    size = (0.01 + 0.06 * np.exp(-(np.add.outer((x - 0.5) ** 2, (x - 0.5) ** 2)) / 0.05))[..., None]
    shared = common * size * random.standard_normal(truth.shape)
    images = np.float32(truth + shared + size * random.standard_normal((num_seeds, *truth.shape)))
    measured = truth + noise * random.standard_normal(truth.shape) * (np.sqrt(truth) if kind == "poisson" else 1)
    if kind == "salt":
        measured = np.where(random.random(truth.shape) < noise, random.integers(0, 2, truth.shape), truth)
    task = problem.denoising(np.float32(measured))
    scored = random.random((num_seeds, SIDE, SIDE, 1)) < 0.1
    best = SimpleNamespace(estimate=(images,))
    state = SimpleNamespace(
        watch=SimpleNamespace(memory=SimpleNamespace(scored=scored, hidden=scored, measured=np.ones_like(scored)), best=best)
    )
    ends = np.ones(num_seeds, bool), np.full(num_seeds, 9), np.full(num_seeds, 5)
    result = Result(images, np.ones(num_seeds, bool), Metrics(None, None, None), 9, 0.0, 0.0, True, lambda: state, *ends)
    return result, task, truth


@pytest.mark.parametrize("num_seeds", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("common", [0.0, 1.5])
@pytest.mark.parametrize(("kind", "noise"), [("gauss", 0.0), ("gauss", 0.05), ("gauss", 0.1), ("poisson", 0.08), ("salt", 0.1)])
def test_intervals_cover_what_they_should(num_seeds, common, kind, noise):
    result, task, truth = seeds(num_seeds, common=common, noise=noise, kind=kind, channels=3)
    found = uncertainty.calibrated(result, task)
    wrong = np.abs(result.image - truth)
    assert found.std.shape == truth.shape
    for times, low, high in ((0.6745, 0.38, 0.7), (1.6449, 0.8, 0.985)):
        assert low < np.mean(wrong <= times * found.std) < high
    true_noise = np.sqrt(np.mean((task.measurement - truth) ** 2))
    assert found.noise == pytest.approx(true_noise, rel=0.15, abs=0.025)


@pytest.mark.parametrize("num_seeds", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("more", [0.0, 1.0])
def test_noise_that_all_seeds_have_taken_over_where_they_saw_it_counts_as_error(num_seeds, share, more):
    result, task, truth = seeds(num_seeds, common=1.0, noise=0.1, channels=3)
    random, noise = np.random.default_rng(1), task.measurement - truth
    for image, hidden in zip(result.images, result.state.watch.memory.hidden, strict=True):
        image[...] += np.where(hidden, more * (image - truth) * random.standard_normal(truth.shape), share * noise)
    found = uncertainty.calibrated(result, task)
    error = np.sqrt(np.mean((result.image - truth) ** 2))
    assert np.sqrt(np.mean(found.std**2)) == pytest.approx(error, rel=0.25)
    assert found.noise == pytest.approx(0.1, rel=0.05)


@pytest.mark.slow
def test_where_seeds_disagree_the_error_is_larger():
    result, task, _ = seeds(4, common=1.0, noise=0.05)
    std = uncertainty.calibrated(result, task).std
    assert std[48, 48] > 2 * std[4, 4]


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_seeds_that_have_all_learnt_nothing_gained_nothing(value):
    result, task, truth = seeds(3, common=0.0, noise=0.05)
    result.images[:] = value + 1e-3 * (result.images - truth)
    found = uncertainty.calibrated(result, task)
    assert found.gained is False
    assert found.noise < 0.06
    error = np.sqrt(np.mean((result.image - truth) ** 2))
    assert np.sqrt(np.mean(found.std**2)) == pytest.approx(error, rel=0.1)


def test_nothing_is_said_of_one_seed_nor_without_held_out_entries():
    result, task, _ = seeds(2, common=1.0, noise=0.05)
    result.alive[0] = False
    assert uncertainty.calibrated(result, task) is None
    result.alive[0] = True
    del result.state.watch.memory.scored
    assert uncertainty.calibrated(result, task) is None


def test_samples_of_a_posterior_tell_their_own_deviation():
    random = np.random.default_rng(2)
    outputs = 0.5 + 0.1 * random.standard_normal((30, 8, 7, 1)).astype(np.float32)
    task, rule = problem.denoising(outputs[0]), Samples(start=4, every=3)
    memory = rule.init(jax.random.key(0), task, (jnp.zeros(task.shape),))
    for step, output in enumerate(outputs):
        verdict = rule.update(memory, Look(jnp.int32(step), (output,), (output,), output, task, MSE()))
        memory = verdict.memory
        assert not verdict.stop
    kept = outputs[4::3]
    assert int(memory.number) == len(kept)
    np.testing.assert_allclose(memory.best.estimate[0], kept.mean(0), atol=1e-6)
    state = SimpleNamespace(watch=SimpleNamespace(memory=jax.tree.map(lambda leaf: np.asarray(leaf)[None], memory)))
    ends = np.zeros(1, bool), np.full(1, 30), np.full(1, 29)
    result = Result(kept.mean(0)[None], np.ones(1, bool), Metrics(None, None, None), 30, 0.0, 0.0, True, lambda: state, *ends)
    found = uncertainty.calibrated(result, task)
    np.testing.assert_allclose(found.std, kept.std(0, ddof=1), atol=1e-5)
    assert np.isnan(found.noise)


def test_a_measurement_that_is_no_picture_tells_the_size_of_the_error_too():
    random = np.random.default_rng(1)
    operator = np.float32(random.standard_normal((600, SIDE)) / np.sqrt(SIDE))
    truth = np.float32(random.random((SIDE, 1)))
    images = truth + 0.1 * random.standard_normal((4, SIDE, 1)).astype(np.float32)
    measured = operator @ truth + 0.05 * random.standard_normal((600, 1))
    task = SimpleNamespace(operator=lambda image: operator @ image, measurement=np.float32(measured))
    scored = random.random((4, 600, 1)) < 0.3
    memory = SimpleNamespace(scored=scored, hidden=scored, measured=np.ones_like(scored))
    state = SimpleNamespace(watch=SimpleNamespace(memory=memory, best=SimpleNamespace(estimate=(images,))))
    ends = np.ones(4, bool), np.full(4, 9), np.full(4, 5)
    result = Result(images, np.ones(4, bool), Metrics(None, None, None), 9, 0.0, 0.0, True, lambda: state, *ends)
    found = uncertainty.calibrated(result, task)
    assert found.std.shape == truth.shape and np.isfinite(found.std).all()
    error = np.sqrt(np.mean((images.mean(0) - truth) ** 2))
    assert error / 2 < np.sqrt(np.mean(found.std**2)) < 3 * error


def test_what_is_put_back_is_no_error_any_more():
    error, added = np.random.default_rng(0).normal(0, 0.1, (2, 64, 64, 1))
    std = uncertainty.after(np.full((64, 64, 1), np.hypot(0.1, 0.05), np.float32), 0.5 * added, np.nan)
    np.testing.assert_allclose(std, 0.1, atol=0.02)
    np.testing.assert_allclose(uncertainty.after(std, 10 * added, 0.1), std / 2)
    np.testing.assert_allclose(uncertainty.after(std, 10 * added, 2.0), 0.3, rtol=1e-6)
    assert std.dtype == np.float32
    lost = np.where(error > 0, np.nan, 0.0)
    np.testing.assert_array_equal(uncertainty.after(std, lost, 0.1), std)
