"""A blur beside the image: what it is, where its centre lies, and that it is found."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dipjax import Recipe, inputs, optimizers, problem, restore, seeds
from dipjax.generators import Plain, WithPsf
from dipjax.generators.with_psf import centred
from dipjax.stopping import HeldOut
from tests.conftest import picture

pytestmark = pytest.mark.usefixtures("quick_compilation")

NET = WithPsf(Plain(1, num_layers=2, width=4), (5, 3), width=20)
RECIPE = Recipe(NET, inputs.Noise(2), optimizers.Adam(0.01))
TASK = problem.deblurring(picture(9, 8, 1), 5, boundary="reflect")


def centre(psf):
    return [float((psf * places).sum() / psf.sum()) for places in np.indices(psf.shape)]


def spot(shape, at):
    """Returns a psf that is not symmetrical, around a place."""
    psf = np.zeros(shape, np.float32)
    psf[at], psf[at[0], at[1] + 1], psf[at[0] + 1, at[1]] = 0.5, 0.2, 0.3
    return psf


def test_it_makes_an_image_and_a_psf_that_is_positive_sums_to_one_and_is_in_the_middle():
    z = jnp.ones((6, 7, 2))
    image, psf = jax.jit(NET.apply)(jax.jit(NET.init)(jax.random.key(0), z), z)
    assert image.shape == (6, 7, 1)
    assert psf.shape == (5, 3)
    assert (psf > 0).all()
    np.testing.assert_allclose(psf.sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(centre(psf), (2, 1), atol=0.1)  # what leaves it at its edges is lost


@pytest.mark.parametrize("at", [(3, 3), (2, 4), (4, 2)])
def test_wherever_a_psf_lies_it_is_moved_to_the_middle(at):
    found = np.asarray(centred(jnp.asarray(spot((9, 9), at))))
    np.testing.assert_allclose(found, centred(jnp.asarray(spot((9, 9), (4, 4)))), atol=1e-6)
    np.testing.assert_allclose(centre(found), (4, 4), atol=1e-5)


def test_a_psf_in_the_middle_stays_as_it_is():
    psf = np.float32([[1, 2, 1], [2, 5, 2], [1, 2, 1]]) / 17
    np.testing.assert_allclose(centred(jnp.asarray(psf)), psf, atol=1e-6)


def test_a_step_moves_its_weights_by_the_share_that_is_asked_for():
    weights = []
    for rate in (0.03, 0.003):
        recipe = replace(RECIPE, generator=replace(NET, rate=rate))
        state = restore(recipe, jax.random.key(0), TASK, num_steps=1).state
        weights.append(rate * np.asarray(state.params["psf"][1]["bias"]))
    # Both began at the same weights; Adam's first step has the length of its rate, whatever the gradient.
    np.testing.assert_allclose(np.median(np.abs(weights[0] - weights[1])), 0.01 * (0.03 - 0.003), rtol=0.01)


def test_every_run_has_its_own_psf_of_the_moment_that_it_gives():
    for rule in (None, HeldOut()):
        result = restore(replace(RECIPE, stopping=rule), seeds(0, 2), TASK, num_steps=4)
        (psfs,) = result.unknowns
        assert psfs.shape == (2, 5, 3)
        np.testing.assert_allclose(psfs.sum((1, 2)), 1, rtol=1e-5)
        assert np.abs(psfs[0] - psfs[1]).max() > 0
        predicted = [TASK.operator(jnp.asarray(image), jnp.asarray(psf)) for image, psf in zip(result.images, psfs, strict=True)]
        assert np.mean((np.stack(predicted) - np.asarray(TASK.measurement)) ** 2) < 1
    best = result.state.watch.best
    np.testing.assert_array_equal(psfs, np.where(np.isfinite(best.score)[:, None, None], best.estimate[1], result.state.unknowns[0]))


@pytest.mark.parametrize("rule", [None, HeldOut()])
@pytest.mark.parametrize("is_unknown", [True, False])
def test_a_generator_that_does_not_suit_the_operator_is_refused_by_name(rule, is_unknown):
    net = NET.generator if is_unknown else NET
    task = TASK if is_unknown else problem.denoising(picture(9, 8, 1))
    with pytest.raises(ValueError, match="^generator: found one that makes"):
        restore(replace(RECIPE, generator=net, stopping=rule), seeds(0, 2), task, num_steps=1)


@pytest.mark.parametrize("setting", [{"size": (3,)}, {"size": [3, 3]}, {"size": (3, 0)}, {"width": 0}, {"rate": 0.0}])
def test_a_setting_that_makes_no_psf_is_refused(setting):
    with pytest.raises(ValueError, match=f"^{next(iter(setting))}: found"):
        replace(NET, **setting)


def test_it_goes_to_json_and_back():
    assert Recipe.from_json(RECIPE.to_json()) == RECIPE
