"""A student learns from teachers, keeps in a file, restores any size, and knows which noise it was made for."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy import ndimage
from skimage import data as samples

import dipjax
from dipjax.after import degradation, distill, student, training
from dipjax.after.distill import Lesson, teach
from dipjax.core.state import psnr
from dipjax.generators.residual import Residual
from dipjax.tasks.options import Diverged
from dipjax.tasks.ranges import Range

pytestmark = pytest.mark.usefixtures("quick_compilation")
SIGMA, FULL = 0.1, Range(0.0, 1.0)


def clean(seed=0, shape=(48, 44), channels=1):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(*shape, channels)), (4, 4, 0))
    return np.float32(0.5 + 0.35 * np.sign(smooth) * np.abs(smooth / smooth.std()).clip(0, 1) ** 0.3)


def noisy(picture, sigma=SIGMA, seed=9):
    return np.float32(picture + np.random.default_rng(seed).normal(0, sigma, picture.shape))


def lessons(channels=1, number=3):
    pictures = [clean(seed, channels=channels) for seed in range(number)]
    return [Lesson(noisy(picture, seed=seed), picture, np.full_like(picture, 0.05)) for seed, picture in enumerate(pictures)]


@pytest.fixture(scope="module")
def taught(quick_compilation):
    return teach(lessons(), Residual(1, 8, 4), span=FULL, num_steps=10)


@pytest.mark.slow
def test_a_student_restores_a_picture_that_it_has_not_seen():
    taught, picture = teach(lessons(), Residual(1, 8, 4), span=FULL, num_steps=150), clean(77)
    assert psnr(taught.restore(noisy(picture)), picture) > psnr(noisy(picture), picture) + 4


def test_a_student_comes_back_from_its_file(taught, tmp_path):
    path = tmp_path / "a.student"
    student.save(path, taught)
    again = student.load(path)
    assert (again.network, again.span, again.degradation, again.about) == (taught.network, taught.span, taught.degradation, taught.about)
    np.testing.assert_array_equal(again.restore(noisy(clean())), taught.restore(noisy(clean())))
    with pytest.raises(dipjax.files.OutputError, match="already exists"):
        student.save(path, taught)


@pytest.mark.parametrize(
    ("pictures", "how", "words"),
    [
        ([np.zeros((40, 40), np.uint8), np.zeros((40, 40))], {}, r"pictures\[1\]: found 1 channels of floats, but .* whole numbers"),
        ([np.zeros((40, 40)), np.zeros((40, 40, 3))], {}, r"pictures\[1\]: found 3 channels .* pictures\[0\] has 1 channels of floats"),
        ([np.zeros((40, 8))], {}, r"pictures\[0\]: found 8 x 40 pixels"),
        ([], {}, "pictures: found none, expected at least one"),
        (None, {}, "pictures: found NoneType, expected a sequence"),
        ([np.zeros((40, 40))], {"options": {}}, "options: found dict, expected dipjax.Options"),
        ([np.zeros((40, 40))], {"callback": 3}, "callback: found 3, expected a function"),
        ([np.zeros((40, 40))], {"num_layers": 101}, "num_layers: found 101, expected a whole number from 1 to 100"),
        ([np.zeros((40, 40))], {"width": 1025}, "width: found 1025"),
        ([np.zeros((70, 70, 65))], {"options": dipjax.Options(channel_axis=-1)}, "channels: found 65"),
        ([np.zeros((40, 40))], {"num_steps": 0}, "num_steps: found 0"),
        ([np.zeros((40, 40))], {"width": -1}, "width: found -1"),
        ([np.zeros((40, 40))], {"num_layers": 1.5}, "num_layers: found 1.5"),
        ([np.zeros((40, 40))], {"rng": -1}, "rng: found -1"),
    ],
)
def test_what_cannot_be_learned_is_refused_before_the_teachers_begin(monkeypatch, pictures, how, words):
    monkeypatch.setattr(distill, "solve", lambda *arguments, **keywords: pytest.fail("a teacher began"))
    with pytest.raises(ValueError, match=words):
        dipjax.distill(pictures, **how)


ODD = [
    ("range", [0, float("inf")]),
    ("range", [0, 10**400]),
    ("range", "01"),
    ("range", [0, 1, 2]),
    ("range", None),
    ("degradation", {"least": float("nan")}),
    ("degradation", {"least": -1.0}),
    ("degradation", {"least": 2.0, "most": 1.0}),
    ("degradation", {"most": "1"}),
    ("degradation", {"exponent": True}),
    ("degradation", {"kind": []}),
    ("degradation", {"other": 1}),
    ("degradation", []),
    ("network", {"width": 2000}),
    ("network", {"channels": True}),
    ("network", {"type": "os:system"}),
    ("network", 3),
    ("about", []),
    ("arrays", [{}]),
    ("arrays", [{"name": 1, "dtype": 2, "shape": 3}]),
]


@pytest.mark.parametrize(("part", "value"), ODD)
def test_an_odd_header_is_refused_in_one_sentence_that_names_the_file(taught, tmp_path, monkeypatch, part, value):
    path, read = tmp_path / "a.student", student.container.header
    student.save(path, taught)

    def changed(*arguments):
        header, start = read(*arguments)
        return header | {part: header[part] | value if isinstance(value, dict) else value}, start

    monkeypatch.setattr(student.container, "header", changed)
    with pytest.raises(ValueError, match=r"student: .*a\.student has a header that is not understood"):
        student.load(path)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:90] + b"x" + data[91:], lambda data: b"", lambda data: b"PNG" * 99]
)
def test_a_damaged_file_is_refused(taught, tmp_path, damage):
    path = tmp_path / "a.student"
    student.save(path, taught)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="damaged.*dipjax distill"):
        student.load(path)
    with pytest.raises(ValueError, match="cannot be read"):
        student.load(tmp_path / "none")


def test_what_is_no_student_is_refused():
    with pytest.raises(ValueError, match="student: found NoneType, expected a Student, or the name of its file"):
        dipjax.apply(None, np.zeros((8, 8)))


def test_numbers_of_numpy_are_kept(tmp_path):
    numbers = {"num_steps": np.int64(1), "rng": np.int64(3)}
    made = teach(lessons(), Residual(1, np.int64(4), np.int64(2)), span=FULL, **numbers, about={"teachers": np.float32(0.5)})
    student.save(tmp_path / "a.student", made)
    assert student.load(tmp_path / "a.student").about["teachers"] == 0.5


def test_what_lies_far_outside_the_range_stays_and_other_units_are_refused(taught):
    picture = noisy(clean(4))
    picture[5, 5] = 7.0
    with pytest.warns(UserWarning, match="1 of the pixels lie far outside of 0 to 1"):
        assert dipjax.apply(taught, picture)[5, 5] == pytest.approx(7.0, abs=1.0)
    noise = np.float32(np.random.default_rng(0).normal(0.5, SIGMA, (40, 40, 1)))
    assert "other units" not in dataclasses.replace(taught, span=Range(0.45, 0.55)).check(noise)[1]  # however far it reaches
    with pytest.raises(ValueError, match=r"the picture fills .* to 2.*, but the network was made for 0 to 1; .*other units"):
        dipjax.apply(taught, 255 * noisy(clean(4)))


def test_tiles_make_the_same_picture_as_the_whole(taught, monkeypatch):
    picture = noisy(clean(5, (150, 90)))
    whole = taught.restore(picture)
    monkeypatch.setattr(student, "_TILE", 64)
    np.testing.assert_allclose(taught.restore(picture), whole, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 2), (3, 17), (33, 2)])
def test_any_size_is_restored(taught, shape):
    assert taught.restore(np.zeros((*shape, 1), np.float32)).shape == (*shape, 1)


def test_a_gray_student_takes_colours_one_by_one_and_a_student_for_colours_refuses_gray(taught):
    picture = noisy(clean(3, channels=3))
    np.testing.assert_array_equal(taught.restore(picture)[..., 1:2], taught.restore(picture[..., 1:2]))
    colour = dataclasses.replace(taught, network=Residual(3, 8, 4))
    with pytest.raises(ValueError, match="found 1 channels, expected 3"):
        colour.check(picture[..., :1])


def test_noise_of_another_strength_is_doubted_or_refused(taught):
    picture = clean(4)
    assert dipjax.apply(taught, noisy(picture)).shape == picture.shape
    with pytest.warns(UserWarning, match="stronger than the white noise"):
        dipjax.apply(taught, noisy(picture, 1.6 * SIGMA))
    with pytest.raises(ValueError, match="stronger.*anyway=True"):
        dipjax.apply(taught, noisy(picture, 3 * SIGMA))
    with pytest.warns(UserWarning, match="weaker"):
        dipjax.apply(taught, noisy(picture, SIGMA / 4), anyway=True)


def test_noise_of_another_kind_is_refused(taught):
    random, picture = np.random.default_rng(0), clean(4, (64, 64))
    impulses = np.where(random.random(picture.shape) < 0.2, random.integers(0, 2, picture.shape), picture)
    smooth = ndimage.gaussian_filter(random.normal(size=picture.shape), (1, 1, 0))
    for bad, word in ((impulses, "impulse"), (picture + SIGMA * smooth / smooth.std(), "correlated")):
        with pytest.raises(ValueError, match=f"the picture has {word} noise"):
            dipjax.apply(taught, np.float32(bad))


def test_where_a_teacher_is_unsure_it_counts_less():
    sure, unsure = np.full((20, 20, 1), 0.01), np.full((20, 20, 1), 0.1)
    unknown = np.full((20, 20, 1), np.nan)
    first, second, third, none = distill._weights([sure, unsure, unknown, None])
    assert first.mean() > third.mean() > second.mean() and none == pytest.approx(third.mean())
    assert distill._weights([None, None]) == [None, None]
    picture = clean()
    right, wrong = Lesson(picture, picture, sure.mean() + 0 * picture), Lesson(picture, 1 - picture, 30 + 0 * picture)
    problem = distill._batch(np.random.default_rng(0), [right, wrong], distill._weights([right.std, wrong.std]), 20)
    known = np.asarray(problem.operator.known)
    agrees = np.abs(np.asarray(problem.measurement) / known - np.asarray(problem.guide)).max((1, 2, 3)) < 1e-3
    assert agrees.any() and not agrees.all() and known[agrees].min() > 1.5 * known[~agrees].max()


def test_a_batch_turns_input_and_answer_alike():
    square = np.arange(9.0).reshape(3, 3, 1)
    assert len({training.turned(square, which).tobytes() for which in range(8)}) == 8
    one = lessons(number=1)[0]
    problem = distill._batch(np.random.default_rng(0), [Lesson(one.restored, one.restored)], [None], 24)
    np.testing.assert_array_equal(problem.guide, problem.measurement)


def test_swapped_noise_is_that_of_another_place():
    one = Lesson(noisy(clean()), clean())
    problem = distill._batch(np.random.default_rng(0), [one], [None], 24, 1.0)
    own = distill._batch(np.random.default_rng(0), [one], [None], 24)
    for data in (problem, own):
        assert np.std(np.asarray(data.guide) - np.asarray(data.measurement)) == pytest.approx(SIGMA, rel=0.1)
    noises = (one.degraded - one.restored)[..., 0]
    corner = np.asarray(own.guide - own.measurement)[0, 0, 0, 0]
    assert np.abs(noises - corner).min() < 1e-6  # also of the place itself, ...
    answer, noise = np.asarray(problem.measurement), np.asarray(problem.guide - problem.measurement)
    assert np.abs(noises - noise[0, 0, 0, 0]).min() < 1e-6
    together = {(float(a), float(b)) for a, b in np.round(np.stack([one.restored.ravel(), noises.ravel()], -1), 5)}
    kept = [tuple(map(float, np.round([answer[i, 0, 0, 0], noise[i, 0, 0, 0]], 5))) in together for i in range(len(answer))]
    assert not all(kept)  # ... but not with its picture


def test_lessons_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="found none that a deep image prior improves"):
        teach([], Residual(1), span=FULL, num_steps=1)
    with pytest.raises(ValueError, match="found 3 channels, expected 1, those of the network"):
        teach([lessons()[0], lessons(3)[0]], Residual(1), span=FULL, num_steps=1)
    with pytest.raises(ValueError, match="at least 16 along each side"):
        teach([Lesson(*[clean(0, (12, 30))] * 2)], Residual(1), span=FULL, num_steps=1)
    with pytest.raises(ValueError, match="its uncertainty, .* expected the same shape"):
        teach([lessons()[0]._replace(std=np.zeros((3, 3, 1)))], Residual(1), span=FULL, num_steps=1)


def test_a_training_that_diverges_says_so():
    bad = lessons(number=1)[0]._replace(restored=np.full((48, 44, 1), np.inf, np.float32))
    bad = bad._replace(restored=np.full((48, 44, 1), np.nan, np.float32))
    with pytest.raises(Diverged, match="not finite"):
        teach([bad], Residual(1, 4, 2), span=FULL, num_steps=2)


def test_the_callback_sees_every_step_and_can_end_the_training():
    seen = []
    made = teach(lessons(), Residual(1, 4, 2), span=FULL, num_steps=50, callback=lambda step, loss: seen.append(loss) or step == 3)
    assert len(seen) == 3 and made.about["training"]["steps"] == 3


def mixed():
    """Two pictures with white noise and one with impulses."""
    impulses = np.where(np.random.default_rng(0).random((48, 44, 1)) < 0.2, 0.0, clean())
    return [noisy(clean(seed)) for seed in range(2)], np.where(np.random.default_rng(1).random((48, 44, 1)) < 0.2, 1.0, impulses)


def teachers_of(monkeypatch, make):
    """Puts `(pixels, options) -> what a teacher makes of them` in the place of teachers, and returns what they were given."""
    seen = []

    def solve(spec, pixels, arguments, options, *, is_whole):
        seen.append(options)
        told = {"recipe": None, "gained": None, "ending": "done", "image": pixels, "uncertainty": None}
        return SimpleNamespace(**told | make(pixels, options))

    monkeypatch.setattr(distill, "solve", solve)
    return seen


HOW = {"width": 4, "num_layers": 2, "num_steps": 2}


def test_pictures_with_several_kinds_of_noise_are_refused_before_the_teachers(monkeypatch):
    (one, two), impulses = mixed()
    seen = teachers_of(monkeypatch, lambda pixels, options: {})
    with pytest.raises(ValueError, match="found 2 with white noise and 1 with impulse noise, expected one kind"):
        dipjax.distill([one, impulses, two], **HOW)
    assert not seen
    with pytest.warns(UserWarning, match="the network is made for white noise"):
        made = dipjax.distill([one, impulses, two], **HOW, anyway=True)
    assert made.degradation.kind == "white" and made.degradation.most < 2 * SIGMA


def test_every_teacher_has_a_folder_of_checkpoints_of_its_own(monkeypatch, tmp_path):
    pictures, _ = mixed()
    seen = teachers_of(monkeypatch, lambda pixels, options: {})
    dipjax.distill(pictures, options=dipjax.Options(checkpoint=tmp_path / "kept"), **HOW)
    assert [options.checkpoint for options in seen] == [tmp_path / "kept" / f"pictures[{number}]" for number in range(2)]
    assert (tmp_path / "kept").is_dir()


def test_a_teacher_that_is_interrupted_ends_all(monkeypatch):
    seen = teachers_of(monkeypatch, lambda pixels, options: {"ending": "interrupted"})
    with pytest.raises(KeyboardInterrupt, match=r"pictures\[0\]"):
        dipjax.distill(mixed()[0], **HOW)
    assert len(seen) == 1


def test_a_teacher_that_diverges_is_named(monkeypatch):
    def diverged(pixels, options):
        raise Diverged("all 4 seeds diverged")

    teachers_of(monkeypatch, diverged)
    with pytest.raises(Diverged, match=r"pictures\[0\]: all 4 seeds diverged; or leave it out"):
        dipjax.distill(mixed()[0], **HOW)


@pytest.mark.slow
def test_teachers_go_on_from_their_checkpoints(monkeypatch, tmp_path):
    net = dipjax.generators.Plain(1, 2)
    options = dipjax.Options(generator=net, seeds=2, num_iter=2, stop="none", checkpoint=tmp_path / "kept")
    first = dipjax.distill(mixed()[0], options=options, **HOW)
    again = dipjax.distill(mixed()[0], options=options, **HOW)
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)


@pytest.mark.slow
def test_teachers_of_arrays_teach(monkeypatch):
    from dipjax.recipes import by_name
    from tests.app.conftest import flow, tiny

    monkeypatch.setitem(by_name.FAST, "denoise", tiny)
    monkeypatch.setattr(flow, "_GENEROUS", 1)
    monkeypatch.setattr(flow.Outcome, "gained", None)
    pictures = [np.uint8(255 * noisy(clean(seed)).clip(0, 1)[..., 0]) for seed in range(2)]
    made = dipjax.distill(pictures, options=dipjax.Options(seeds=2, num_iter=2, recipe="fast"), width=4, num_layers=2, num_steps=3)
    assert [one["name"] for one in made.about["pictures"]] == ["pictures[0]", "pictures[1]"] and made.about["teachers"]["seeds"] == 2
    assert made.degradation.kind == "white" and made.degradation.least == pytest.approx(SIGMA, rel=0.3)
    assert dipjax.apply(made, pictures[0]).shape == pictures[0].shape
    with pytest.raises(ValueError, match="expected a sequence of pictures"):
        dipjax.distill(pictures[0])


def test_the_strength_is_found_and_said():
    found = degradation.estimate(noisy(np.full((64, 64, 1), 0.5, np.float32)))
    assert found.kind == "white" and found.least == pytest.approx(SIGMA, rel=0.1)
    assert "white noise (independent from pixel to pixel) of 0.1" in str(found._replace(least=0.1, most=0.1))


def crops(picture, size, sigma, number=12):
    """Returns parts of a picture, gray in [0, 1], with white noise."""
    random, picture = np.random.default_rng(0), np.float32(picture.reshape(*picture.shape[:2], -1).mean(-1, keepdims=True) / 255)
    for _ in range(number):
        top, left = (random.integers(side - size) for side in picture.shape[:2])
        yield np.float32(picture[top:, left:][:size, :size] + random.normal(0, sigma, (size, size, 1)))


@pytest.mark.parametrize("sigma", [0.01, 0.02])
def test_textures_under_weak_noise_are_not_called_correlated(sigma):
    for name in ("chelsea", "grass"):
        found = [degradation.estimate(crop) for crop in crops(getattr(samples, name)(), 64, sigma)]
        assert "correlated" not in {one.kind for one in found} and degradation.agree(found)[0]
        assert name == "grass" or degradation.together(found).kind == "white"


@pytest.mark.parametrize("size", [48, 64, 95, 96, 200])
def test_the_strength_is_measured_alike_in_every_size_and_number_of_channels(size):
    found = [degradation.estimate(crop).most for crop in crops(samples.chelsea(), size, 0.03)]
    assert np.median(found) == pytest.approx(0.03, rel=0.15) and max(found) < 1.4 * 0.03
    gray, colour = (degradation.estimate(noisy(np.full((size, size, channels), 0.5))) for channels in (1, 3))
    assert gray.most == pytest.approx(SIGMA, rel=0.12) and colour.most == pytest.approx(SIGMA, rel=0.12)


def test_a_kind_that_cannot_be_told_is_a_doubt():
    learned, small = degradation.Degradation("correlated", 0.1, 0.1), degradation.estimate(noisy(clean(0, (31, 31))))
    fits, doubt = degradation.compare(small, learned)
    assert fits and small.kind == "unknown" and "unknown noise (of a kind that cannot be told)" in doubt
    assert degradation.compare(small, learned._replace(least=0.01, most=0.01))[0]
    assert not degradation.compare(small, learned._replace(kind="impulse"))[0]


@pytest.mark.parametrize(
    ("kinds", "fits", "kind"),
    [
        ("www", True, "white"),
        ("wwc", True, "white"),
        ("wc", False, "white"),
        ("wwu", True, "white"),
        ("wuuu", True, "white"),
        ("uuu", True, "unknown"),
        ("wwwwi", False, "white"),
        ("iiu", False, "impulse"),
    ],
)
def test_two_thirds_of_the_pictures_say_which_noise_there_is(kinds, fits, kind):
    names = {name[0]: name for name in degradation.KINDS}
    found = [degradation.Degradation(names[letter], 0.1 + i, 0.1 + i) for i, letter in enumerate(kinds)]
    assert degradation.agree(found)[0] == fits and degradation.together(found).kind == kind
    assert bool(degradation.agree(found)[1]) == (len(set(kinds)) > 1)


def test_noise_that_grows_otherwise_with_brightness_is_doubted():
    random = np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(0.2, 1, 128, dtype=np.float32)[:, None], (128, 128, 1))
    photons = degradation.estimate(np.float32(random.poisson(100 * ramp) / 100))
    steady = degradation.estimate(noisy(ramp, photons.least))
    assert photons.exponent > steady.exponent + 0.7
    fits, doubt = degradation.compare(photons, steady)
    assert fits and "grows more with brightness" in doubt
    assert degradation.compare(steady, steady) == (True, "")
    assert degradation.together([photons, steady]).exponent == pytest.approx((photons.exponent + steady.exponent) / 2)


def test_a_network_begins_close_to_the_identity_and_sees_as_far_as_it_says():
    network, picture = Residual(1, 8, 3), noisy(clean(0, (21, 21)))
    params = network.init(jax.random.key(0), picture)
    assert np.abs(network.apply(params, picture) - picture).max() < 0.2
    seen = np.abs(jax.grad(lambda x: network.apply(params, x)[10, 10, 0])(picture))[..., 0] > 0
    assert network.reach == 3 and seen[7:14, 7:14].any() and not np.delete(seen, range(7, 14), 0).any()
