"""Stopping rules: the known moment of made-up runs; in real runs the same under jit, vmap, chunks and devices, and after a pause."""

from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from dipjax.core import drive, layouts, loop
from dipjax.core.problem import Problem, stack
from dipjax.core.recipe import MSE
from dipjax.fitting.losses import L1
from dipjax.operators import Identity, problem
from dipjax.stopping import REGISTRY, AveragedVariance, Discrepancy, HeldOut, Look, Sure, WindowedVariance
from dipjax.stopping.noise import has_impulses, noise_correlation, noise_variance
from tests.conftest import Appointed, light_keys, mixer_recipe, picture

pytestmark = pytest.mark.usefixtures("quick_compilation")

SIGMA = 0.1
SIDE = 48
QUICK = {  # rules that decide within the few steps of the runs here
    "held-out": HeldOut(0.1, patience=0.2, least=2, smoothing=0.5),
    "wmv": WindowedVariance(window=3, patience=4),
    "emv": AveragedVariance(patience=4, start=2),
    "discrepancy": Discrepancy(sigma=0.3),
    "sure": Sure(sigma=0.1, patience=0.2, least=2),
}
RULES = pytest.mark.parametrize("rule", list(QUICK.values()), ids=list(QUICK))


def waves(seed, channels=3):
    """A smooth picture."""
    x, y = np.meshgrid(np.linspace(0, 1, SIDE), np.linspace(0, 1, SIDE))
    rates = np.random.default_rng(seed).uniform(1, 4, (2, channels))
    return np.stack([0.5 + 0.3 * np.sin(a * x * 3 + b * y * 2) for a, b in rates.T], -1).astype(np.float32)


def rough(seed, correlated=False):
    """Noise of standard deviation one, white or equal in squares of 2 x 2 pixels."""
    noise = np.random.default_rng(seed).standard_normal((SIDE, SIDE, 3)).astype(np.float32)
    return np.kron(noise[::2, ::2], np.ones((2, 2, 1), np.float32)) if correlated else noise


def play(rule, outputs, task, averages=None, loss=MSE()):  # noqa: B008
    """Feeds a rule a run that is known in advance: its verdicts after every step, up to the one that stops."""
    zero = (jnp.zeros(task.shape),)
    memory = rule.init(jax.random.key(3), task, zero)

    @jax.jit
    def update(memory, step, output, average):
        return rule.update(memory, Look(step, (output,), (average,), task.operator(average), task, loss))

    verdicts = []
    for step, (output, average) in enumerate(zip(outputs, averages or outputs, strict=True)):
        verdict = update(memory, jnp.int32(step), output, average)
        memory = verdict.memory
        verdicts.append(verdict)
        if verdict.stop:
            break
    return verdicts


def fitting_run(truth, noise, hidden=None, num_steps=200, best=60):
    """Structure comes first and the noise, where it is seen, later; the error is least at about step `best`.

    What is not seen gets another error of its own, as large as that of its neighbours.
    """
    images = []
    for step in range(num_steps):
        missing, fitted = 0.3 * np.exp(-step / (best / 4)), 0.9 * (1 - np.exp(-((step / (2.2 * best)) ** 2)))
        instead = noise if hidden is None else np.where(hidden, np.roll(noise, (5, 11), (0, 1)), noise)
        images.append(np.float32(truth + missing * np.sin(40 * truth) + fitted * instead))
    return images


def errors(images, truth):
    return np.array([np.mean((image - truth) ** 2) for image in images])


@pytest.mark.parametrize("correlated", [False, True])
def test_held_out_entries_find_the_moment_of_the_least_error_in_white_and_in_correlated_noise(correlated):
    truth, noise = waves(0), SIGMA * rough(1, correlated)
    task = problem.denoising(truth + noise)
    rule = HeldOut(0.05, 0.4, patience=0.3, least=15, smoothing=0.5, late=0.25)  # so many that chance does not decide
    memory = rule.init(jax.random.key(3), task, (jnp.zeros(task.shape),))
    images = fitting_run(truth, noise, np.asarray(memory.hidden))
    verdicts = play(rule, images, task)
    error = errors(images, truth)
    final = verdicts[-1]
    assert final.stop
    assert len(verdicts) < len(images)
    assert error[int(final.best.step)] < 1.2 * error.min()
    assert np.mean((final.best.estimate[0] - truth) ** 2) < 1.25 * error.min()
    assert int(final.best.step) < len(verdicts) - 1 - 15


def test_the_estimate_is_the_mean_of_all_moments_that_are_not_clearly_worse_than_the_best():
    task = problem.denoising(np.zeros((20, 20, 1), np.float32))
    # 100 numbers: chance is one hundredth, and so is what counts as clearly worse.
    rule = HeldOut(0.25, correlation=1.0, smoothing=0.0, tolerance=0.1, late=0.1, patience=0.0, least=6)
    values = np.sqrt([4.0, 1.02, 1.0, 1.005, 0.999, 1.2, 0.995, 1.0, 0.3, 0.31, *[0.3] * 6, 0.2])
    verdicts = play(rule, [np.full(task.shape, value, np.float32) for value in values], task)
    expected = [values[:1], values[1:2], values[2:3], values[2:4], values[2:5], values[2:5], values[[2, 3, 4, 6]], values[[2, 3, 4, 6, 7]]]
    expected += [values[8:9]] * 2 + [values[8:9]] * 6  # the same number each time
    np.testing.assert_allclose([verdict.best.estimate[0][3, 4, 0] for verdict in verdicts], [part.mean() for part in expected], rtol=1e-5)
    np.testing.assert_array_equal([int(verdict.best.step) for verdict in verdicts], [0, 1, 2, 2, 4, 4, 6, 6, *[8] * 8])
    assert [bool(verdict.stop) for verdict in verdicts] == [False] * 15 + [True]  # more than six steps after the ninth
    generous = play(replace(rule, late=0.4), [np.full(task.shape, value, np.float32) for value in values], task)
    found = [verdict.best.estimate[0][3, 4, 0] for verdict in generous[8:]]
    expected = [values[8:9], values[8:10], *(values[8:end] for end in range(11, 17))]
    np.testing.assert_allclose(found, [part.mean() for part in expected], rtol=1e-5)


def test_textures_that_are_learned_only_where_they_are_seen_are_waited_for():
    """Half of the picture is texture of one pixel: what was held out there is never predicted, so its score is flat."""
    texture = np.where(np.arange(SIDE)[None, :, None] < SIDE // 2, np.sign(rough(7)), 0)
    truth, noise = waves(0) + 0.15 * texture, 0.05 * rough(1)
    task = problem.denoising(truth + noise)
    rule = HeldOut(0.05, patience=0.2, least=10, smoothing=0.0)
    hidden = np.asarray(rule.init(jax.random.key(3), task, (jnp.zeros(task.shape),)).hidden)
    learned = [1 - np.exp(-step / 15) for step in range(120)]
    fitted = 0.4 * np.where(hidden, np.roll(noise, (5, 11), (0, 1)), noise)
    images = [np.float32(truth - np.where(hidden, 1, 1 - share) * 0.15 * texture + share * fitted) for share in learned]
    stopped = {fit: play(replace(rule, fit=fit), images, task) for fit in (0, 1, 1.5)}
    assert len(stopped[0]) < len(stopped[1.5]) < len(stopped[1]) < len(images)
    error = {fit: np.mean((verdicts[-1].best.estimate[0] - truth) ** 2) for fit, verdicts in stopped.items()}
    assert error[0] > 2 * error[1]
    # Only the last moment counts as long as all are too early.
    early = stopped[1][len(stopped[0])]
    np.testing.assert_array_equal(early.best.estimate[0], images[len(stopped[0])])
    absolute = play(rule, images, task, loss=L1())  # of which the noise says nothing
    assert len(absolute) < len(stopped[1])
    # The score is several times the noise here; where it is little more than that, it decides alone.
    for unseen, fit in ((3.0, 1), (30.0, 0)):
        assert len(play(replace(rule, unseen=unseen), images, task)) == len(stopped[fit])


@pytest.mark.parametrize("correlated", [False, True])
def test_what_is_held_out_has_no_part_in_loss_and_gradient(correlated):
    task = problem.denoising(waves(0) + rough(1, correlated))
    rule = HeldOut(0.05, 0.4)
    memory = rule.init(jax.random.key(0), task, (jnp.zeros(task.shape),))
    hidden = np.broadcast_to(memory.hidden, task.shape)

    def loss(prediction):
        return MSE()(rule.hide(memory, prediction, task.measurement), task.measurement)

    gradient = np.asarray(jax.grad(loss)(jnp.full(task.shape, 0.25)))
    assert (gradient[hidden] == 0).all()
    assert (gradient[~hidden] != 0).all()
    scored = np.asarray(memory.scored)[..., 0]
    assert correlated or scored.sum() == round(0.05 * SIDE**2)
    reach = 1 if correlated else 0
    for row, column in np.argwhere(scored):
        assert memory.hidden[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1].all()
    assert 0.2 < hidden.mean() < 0.4 and 0.08 < scored.mean() < 0.18 if correlated else (hidden[..., 0] == scored).all()


@pytest.mark.parametrize(
    ("smooth", "near", "far"), [(0.0, (-0.1, 0.1), (-0.1, 0.1)), (0.7, (0.35, 0.5), (-0.15, 0.1)), (1.5, (0.5, 0.8), (0.1, 0.4))]
)
def test_the_correlation_of_noise_is_measured_where_the_picture_is_flat(smooth, near, far):
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((96, 90, 3)), (smooth, smooth, 0))
    texture = np.float32(np.indices((96, 90)).sum(0) // 3 % 2 * (np.arange(90) > 40))[..., None]  # stripes on a half
    found = noise_correlation(jnp.float32(texture + 0.1 * noise / noise.std()))
    for value, (low, high) in zip(found, (near, far), strict=True):
        assert low < value < high


@pytest.mark.parametrize("name", ["camera", "astronaut", "chelsea", "text", "checkerboard"])
def test_impulses_are_told_from_edges_and_from_other_noise(name):
    from skimage import data

    random = np.random.default_rng(0)
    clean = np.atleast_3d(getattr(data, name)()[:150, :150]) / 255
    draw = random.random((*clean.shape[:2], 1))
    for others in (clean, clean + 50 / 255 * random.standard_normal(clean.shape), random.poisson(30 * clean) / 30):
        assert not has_impulses(others.clip(0, 1))
    for share in (0.05, 0.2):
        assert has_impulses(np.where(draw < share / 2, 0, np.where(draw > 1 - share / 2, 1, clean)))


def test_every_run_holds_out_its_own_entries_and_only_those_that_were_measured():
    known = picture(30, 31) > 0.6
    task = problem.inpainting(picture(30, 31, 3), known)
    rule = HeldOut(0.1, correlation=1.0)
    masks = [np.asarray(rule.init(key, task, (jnp.zeros(task.shape),)).hidden) for key in light_keys(2)]
    assert (masks[0] != masks[1]).any()
    for mask in masks:
        assert not (mask & ~known).any()
        assert mask.sum() == round(0.1 * known.sum())


@pytest.mark.parametrize(
    "task",
    [
        problem.super_resolution(picture(9, 8, 3), 2),
        problem.deblurring(picture(20, 21), np.ones((3, 3), np.float32) / 9),
        problem.general(
            {"spectrum": np.fft.fft2(picture(8, 9), axes=(0, 1)).astype(np.complex64), "sum": picture(8, 9).sum((0, 1))},
            lambda image: {"spectrum": jnp.fft.fft2(image, axes=(0, 1)), "sum": image.sum((0, 1))},
            (8, 9, 1),
        ),
        Problem(jnp.float32(picture(3, 2)), Identity(), (3, 2, 1)),
    ],
    ids=["small", "blurred", "spectrum and sum", "six pixels"],
)
def test_any_measurement_can_be_held_out(task):
    recipe = mixer_recipe(task.shape[-1], stopping=QUICK["held-out"])
    result = drive.restore(recipe, light_keys(2), task, num_steps=12)
    assert np.isfinite(result.metrics.score).all()
    assert (result.best_steps > 0).all()
    chex.assert_tree_all_finite(result.images)


def test_the_windowed_variance_is_that_of_the_window():
    images = [np.float32(picture(6, 5, 3, seed=n) * (1 + abs(n - 40)) / 40) for n in range(120)]
    rule = WindowedVariance(window=10, patience=25)
    verdicts = play(rule, images, problem.denoising(picture(6, 5, 3)))
    expected = [np.mean(np.var(images[n - 9 : n + 1], axis=0, dtype=np.float64)) for n in range(9, len(verdicts))]
    np.testing.assert_allclose([float(v.score) for v in verdicts[9:]], expected, rtol=1e-4)
    assert all(np.isinf(v.score) for v in verdicts[:9])
    best = 9 + int(np.argmin(expected))
    assert int(verdicts[-1].best.step) == best
    np.testing.assert_array_equal(verdicts[-1].best.estimate[0], images[best])
    assert len(verdicts) == best + 25 + 1


def test_the_averaged_variance_follows_its_equation():
    images = [np.float32(picture(6, 5, 3, seed=n) * (1 + abs(n - 40)) / 40) for n in range(160)]
    rule = AveragedVariance(weight=0.1, patience=30, start=12)
    verdicts = play(rule, images, problem.denoising(picture(6, 5, 3)))
    mean, variance, expected, means = images[0], 0.0, [], []
    for image in images[: len(verdicts)]:
        distance = np.mean((image - mean) ** 2)
        variance = 0.9 * (variance + 0.1 * distance)
        mean = mean + 0.1 * (image - mean)
        expected.append(variance)
        means.append(mean)
    np.testing.assert_allclose([float(v.score) for v in verdicts[13:]], expected[13:], rtol=1e-3)
    best = 13 + int(np.argmin(expected[13:]))
    assert int(verdicts[-1].best.step) == best
    np.testing.assert_allclose(verdicts[-1].best.estimate[0], means[best], atol=1e-5)
    assert len(verdicts) == best + 30 + 1


@pytest.mark.parametrize("sigma", [SIGMA, None])
def test_the_discrepancy_principle_stops_where_the_residual_is_the_noise(sigma):
    truth, noise = waves(2), SIGMA * rough(3)
    task = problem.denoising(truth + noise)
    images = [np.float32(truth + noise + (0.5 - 0.005 * n) * rough(4)) for n in range(100)]
    verdicts = play(Discrepancy(sigma), images, task)
    residuals = [np.sqrt(np.mean((image - truth - noise) ** 2)) for image in images]
    expected = next(n for n, residual in enumerate(residuals) if residual <= SIGMA)
    assert verdicts[-1].stop
    assert abs(len(verdicts) - 1 - expected) <= (0 if sigma else 2)  # a hundredth of the noise is two steps
    assert abs(int(verdicts[-1].best.step) - expected) <= 2


@pytest.mark.parametrize("sigma", [SIGMA, None])
def test_the_estimate_of_stein_is_the_error(sigma):
    truth, noise = waves(5), SIGMA * rough(6)
    task = problem.denoising(truth + noise)
    rule = Sure(sigma, patience=0.3, least=15)
    _, added, _ = rule.init(jax.random.key(3), task, (jnp.zeros(task.shape),))
    images = fitting_run(truth, noise + np.asarray(added))
    verdicts = play(rule, images, task)
    # The run fits the noise that was added too, which the estimate does not count.
    fitted = np.array(shares(images, truth, added))
    clean = errors(images, truth) - fitted**2 * np.mean(np.square(added))
    scores = [float(v.score) for v in verdicts]
    np.testing.assert_allclose(scores, errors(images, truth)[: len(scores)], rtol=0.12, atol=0.15 * SIGMA**2)
    assert verdicts[-1].stop
    assert clean[int(verdicts[-1].best.step)] < clean.min() + 0.03 * SIGMA**2


def shares(images, truth, added):
    added = np.asarray(added)
    return [np.sum((image - truth) * added) / np.sum(added**2) for image in images]


def test_the_noise_is_estimated_within_a_tenth():
    for sigma in (0.02, 0.1, 0.3):
        task = problem.denoising(waves(7) + sigma * rough(8))
        np.testing.assert_allclose(np.sqrt(noise_variance(None, task)), sigma, rtol=0.1)


@pytest.mark.parametrize("num_runs", [4, 5])
def test_runs_that_go_on_are_put_together(num_runs, monkeypatch):
    ends = [3, 60, 4, 70, 90][:num_runs]
    tasks = [problem.denoising(np.full((14, 13, 1), end, np.float32)) for end in ends]
    prepare, groups = drive._advance.prepared, []

    def prepared(*arguments):
        program = prepare(*arguments)()

        def counted(*arrays):
            groups.append(None)
            return program(*arrays)

        counted.out_info = program.out_info
        return lambda: counted

    monkeypatch.setattr(drive._advance, "prepared", prepared)
    how = {"num_steps": 200, "problem_axis": 0, "batching": layouts.Layout(2)}
    per_chunk = []
    results = drive.iterate(mixer_recipe(stopping=Appointed()), light_keys(num_runs), stack(tasks), chunk_seconds=0, **how)
    for result in results:  # noqa: B007, the last one is looked at below
        per_chunk.append(len(groups))
        groups.clear()
    assert per_chunk[:2] == [0, -(-num_runs // 2)]  # the compilation takes no step; the first chunk of all groups
    assert max(per_chunk[6:60]) == -(-num_runs // 2) - 1  # after the fourth step two runs have ended
    assert set(per_chunk[62:]) == {1}
    assert result.steps.tolist() == result.best_steps.tolist() == ends
    assert result.state.step.tolist() == ends
    for run, (task, key) in enumerate(zip(tasks, light_keys(num_runs), strict=True)):
        alone = drive.restore(mixer_recipe(stopping=Appointed()), key, task, num_steps=200)
        np.testing.assert_allclose(result.images[run], alone.images, atol=1e-5)
        both = min(alone.num_steps, result.num_steps)
        np.testing.assert_allclose(result.metrics.loss[run, :both], alone.metrics.loss[:both], rtol=1e-4)
        assert (result.metrics.loss[run, ends[run] :] == result.metrics.loss[run, ends[run] - 1]).all()


TASK = problem.denoising(picture(14, 13), truth=picture(14, 13, seed=1))
KEYS = light_keys(4)


def recipe_with(rule):
    return mixer_recipe(stopping=rule)


restore = partial(drive.restore, num_steps=40)


@RULES
@pytest.mark.parametrize("layout", [layouts.ONE_BY_ONE, layouts.TOGETHER, layouts.Layout(2)], ids=["one by one", "together", "pairs"])
@pytest.mark.slow
def test_a_run_in_a_batch_stops_as_it_does_alone(rule, layout):
    together = restore(recipe_with(rule), KEYS, TASK, batching=layout)
    for run, key in enumerate(KEYS):
        alone = restore(recipe_with(rule), key, TASK)
        assert together.stopped[run] == alone.stopped
        assert together.steps[run] == alone.steps
        assert together.best_steps[run] == alone.best_steps
        np.testing.assert_allclose(together.images[run], alone.images, atol=1e-5)
        curve = together.metrics.loss[run]
        both = min(alone.num_steps, together.num_steps)  # how far a chunk goes beyond the last stop is a matter of time
        np.testing.assert_allclose(curve[:both], alone.metrics.loss[:both], rtol=1e-4)
        assert (curve[int(alone.steps) :] == curve[int(alone.steps) - 1]).all()


@RULES
def test_a_stopped_run_stays_and_the_work_ends_with_the_last(rule):
    result = restore(recipe_with(rule), KEYS[:2], TASK, num_steps=2000)
    assert result.stopped.all()
    assert result.num_steps < 2000
    assert (result.steps <= result.num_steps).all()
    assert (result.best_steps <= result.steps).all()
    longer = restore(recipe_with(rule), result.state, TASK, num_steps=3000)
    chex.assert_trees_all_equal(longer.images, result.images)
    np.testing.assert_array_equal(longer.steps, result.steps)


@RULES
def test_pauses_and_chunks_change_nothing(rule):
    recipe = recipe_with(rule)
    whole = restore(recipe, KEYS[:2], TASK)
    first = drive.restore(recipe, KEYS[:2], TASK, num_steps=40, callback=lambda now: now.num_steps >= 1)
    rest = restore(recipe, first.state, TASK)
    chex.assert_trees_all_equal(rest.images, whole.images)
    np.testing.assert_array_equal(rest.steps, whole.steps)
    np.testing.assert_array_equal(rest.best_steps, whole.best_steps)
    state, metrics = loop.run(recipe, loop.init(recipe, KEYS[0], TASK), TASK, 40)
    assert int(state.step) == whole.steps[0]
    np.testing.assert_array_equal(metrics.score[: whole.num_steps], whole.metrics.score[0])


def test_other_settings_of_the_rule_can_take_over_and_none_can_be_added():
    plain = restore(mixer_recipe(), KEYS[:2], TASK, num_steps=5)
    watched = restore(recipe_with(QUICK["held-out"]), plain.state, TASK, num_steps=40)
    assert (watched.steps > 5).all()
    again = restore(recipe_with(QUICK["emv"]), watched.state, TASK, num_steps=60)
    assert (again.steps >= watched.steps).all()
    back = restore(mixer_recipe(), watched.state, TASK, num_steps=45)
    assert back.stopped is None


def test_without_a_best_moment_the_run_gives_its_average():
    rule = WindowedVariance(window=30)
    with_rule, without = (restore(mixer_recipe(stopping=one), KEYS[:2], TASK, num_steps=9) for one in (rule, None))
    np.testing.assert_allclose(with_rule.images, without.images, atol=1e-6)
    assert (with_rule.best_steps == 0).all()
    assert not with_rule.stopped.any()


def test_a_dead_run_gives_its_best_moment_and_stays():
    state = restore(recipe_with(QUICK["held-out"]), KEYS[:2], TASK, num_steps=3).state
    weight = np.array(state.params["weight"])
    weight[0, 0, 0] = np.nan
    result = restore(recipe_with(QUICK["held-out"]), state._replace(params=state.params | {"weight": weight}), TASK)
    assert result.alive.tolist() == [False, True]
    chex.assert_tree_all_finite(result.images)
    assert result.metrics.score.shape[-1] == result.num_steps


def test_the_rules_have_names_and_refuse_what_they_cannot_take():
    assert set(QUICK) == set(REGISTRY)
    for name, rule in REGISTRY.items():
        assert isinstance(QUICK[name], rule)
        assert rule() == rule()
    for make, name in (
        (partial(HeldOut, 1.0), "singles"), (partial(HeldOut, 0.1, 0.0), "blocks"), (partial(HeldOut, side=4), "side"),
        (partial(HeldOut, least=0), "least"), (partial(WindowedVariance, window=1), "window"),
        (partial(AveragedVariance, weight=1.0), "weight"), (partial(Discrepancy, sigma=0.0), "sigma"), (partial(Sure, pseudo=0), "pseudo"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"^{name}: found .*, expected .*"):
            make()
