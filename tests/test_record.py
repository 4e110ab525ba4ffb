"""Recipes are values: equal, hashable, readable, picklable, and JSON and back; a record from a stranger is read or refused, never run."""

import json
import math
import pickle
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dipjax import record
from dipjax.core import layouts
from dipjax.core.recipe import Recipe
from dipjax.fitting import inputs, losses, optimizers, penalties
from dipjax.generators import Perturbed, Plain, Skip, registry
from dipjax.recipes import fast, for_generator, paper
from dipjax.recipes.setting import Setting
from tests.conftest import mixer_recipe


def settings_of(module):
    return {f"{module.__name__}.{name}": make for name, make in vars(module).items() if getattr(make, "__module__", "") == module.__name__}


FUNCTIONS = {name: make for name, make in (settings_of(fast) | settings_of(paper)).items() if not name.rpartition(".")[2].startswith("_")}
AS_IN_2018 = FUNCTIONS.pop("dipjax.recipes.paper.as_in_2018")
SETTINGS = {name: make(3) for name, make in FUNCTIONS.items()}
SETTINGS |= {f"{name} in 2018": AS_IN_2018(setting) for name, setting in SETTINGS.items() if ".paper." in name}
SETTINGS |= {name: for_generator(registry.make(name, 3)) for name in registry.GENERATORS}
SETTINGS["everything"] = Setting(
    Recipe(
        Perturbed(Skip(1, activation=jax.nn.swish, pool=(None,) * 5, output=nn.tanh)),
        inputs.Noise(scale=0.2),
        optimizers.WithParameterNoise(optimizers.Adam(0.1, optimizers.Cosine())),
        losses.Poisson(100),
        penalties.TotalVariation(0.1),
        0.03,
        0.9,
        float("inf"),
        "highest",
        (jnp.max, losses.L1()),
    ),
    7,
)
each = pytest.mark.parametrize("name", SETTINGS)


def test_the_tables_are_full():
    assert len(SETTINGS) > 40


@each
def test_a_recipe_goes_to_json_and_back(name):
    recipe = SETTINGS[name].recipe
    text = recipe.to_json()
    again = Recipe.from_json(text)
    assert again == recipe and hash(again) == hash(recipe) and again.to_json() == text
    assert '"own"' not in text
    assert Recipe.from_json(json.dumps(json.loads(text))) == recipe  # however it is laid out


@each
def test_a_setting_is_copied_by_pickle_and_its_text_says_what_is_in_it(name):
    setting = SETTINGS[name]
    again = pickle.loads(pickle.dumps(setting))
    assert again == setting and hash(again) == hash(setting)
    for part in ("Setting(recipe=Recipe(generator=", type(setting.recipe.generator).__name__, "(learning_rate=", "num_steps="):
        assert part in repr(setting)
    assert " object at 0x" not in repr(replace(setting.recipe, generator=None, watch=(), loss=None))


@pytest.mark.parametrize(("one", "other"), [
    (inputs.Noise(), inputs.Noise(32)), (inputs.Noise(32), inputs.Noise(depth=np.int64(32), scale=0.1)), (losses.Huber(),
    losses.Huber(0.1)),
    (optimizers.Adam(), optimizers.Adam(0.01, optimizers.Constant())), (losses.MSE(), losses.MSE()), (layouts.ONE_BY_ONE, layouts.Layout()),
    (paper.denoising(3), paper.denoising(channels=3)), (fast.denoising(), fast.denoising(3)), (Skip(), Skip(3)), (losses.Poisson(),
    losses.Poisson(30)),
    (mixer_recipe(), mixer_recipe(smoothing=0.9)), (penalties.TotalVariation(1), penalties.TotalVariation(weight=1.0, epsilon=1e-3)),
])  # fmt: skip
def test_equal_arguments_however_spelled_are_equal_values(one, other):
    assert one == other and hash(one) == hash(other)


def test_other_arguments_are_other_values():
    values = [inputs.Noise(), inputs.Noise(8), inputs.Normal(), losses.Huber(), losses.Huber(0.2), losses.L1(), optimizers.Adam()]
    values += [optimizers.Adam(0.1), optimizers.Adam(schedule=optimizers.Cosine()), penalties.TotalVariation(1.0)]
    assert len(set(values)) == len(values) == len({repr(value) for value in values})


def test_numbers_of_numpy_are_written_as_numbers():
    recipe = mixer_recipe(input_noise=np.float64(0.03), watch=(losses.Huber(np.float32(0.5)),))
    content = json.loads(recipe.to_json())
    assert content["input_noise"] == 0.03 and content["watch"][0]["delta"] == 0.5


# What is the user's own.


@dataclass(frozen=True)
class Own:
    weight: float = 2.0

    def __call__(self, *arguments):
        return self.weight


class OwnNet(nn.Module):
    channels: int = 3


def own_function(prediction, measurement):
    return jnp.mean((prediction - measurement) ** 2)


RECIPE = for_generator(Plain(1)).recipe


@pytest.mark.parametrize(("field", "value", "named"), [
    ("loss", lambda prediction, measurement: 0.0, "<lambda>"), ("loss", own_function, "own_function"), ("loss", Own(3.0), "Own"),
    ("loss", partial(own_function), "partial"), ("optimizer", optax.adam(0.01), "GradientTransformation"), ("generator", OwnNet(),
    "OwnNet"),
    ("penalty", jax.jit(own_function), "own_function"), ("input", jax.tree_util.Partial(own_function), "Partial"),
    ("watch", (own_function,), "own_function"),
])  # fmt: skip
def test_what_the_user_made_is_named_and_refused_on_the_way_back_with_its_place(field, value, named):
    text = replace(RECIPE, **{field: value}).to_json()
    assert named in json.dumps(json.loads(text)[field])
    place = f"recipe.{field}" + (r"\[0\]" if field == "watch" else "")
    with pytest.raises(ValueError, match=f"^{place}: found '.*{named}.*, a part made by the user"):
        Recipe.from_json(text)


def test_what_the_user_made_is_pickled_with_the_rest():
    recipe = replace(RECIPE, loss=own_function, penalty=Own(3.0), watch=(Own(),))
    assert pickle.loads(pickle.dumps(recipe)) == recipe


# What is no record.


def changed(**parts):
    return json.dumps(json.loads(RECIPE.to_json()) | parts)


NOISE = json.loads(RECIPE.to_json())["input"]
REFUSED = {
    "nothing": "", "text": "recipe", "half": RECIPE.to_json()[:-20], "number": "3", "null": "null", "list": "[]", "empty": "{}",
    "deep": "[" * 100_000, "deep objects": '{"type":"dipjax.core.recipe:Recipe","generator":' * 3000 + "1" + "}" * 3000,
    "long number": changed(smoothing=0).replace('"smoothing": 0', '"smoothing": ' + "9" * 5000),
    "another setting": json.dumps(NOISE), "unknown field": changed(momentum=0.9), "missing": '{"type": "dipjax.core.recipe:Recipe"}',
    "text for a number": changed(input_noise="0.1"), "truth for a number": changed(input_noise=True),
    "null for a number": changed(smoothing=None),
    "list for a number": changed(smoothing=[1]), "number for a function": changed(loss=3), "text for an input": changed(input="noise"),
    "text for a whole number": changed(input=NOISE | {"depth": "8"}), "fraction for a whole number": changed(input=NOISE | {"depth": 1.5}),
    "a function of watch": changed(watch={"function": "jax.numpy:max"}), "number of precision": changed(precision=32),
    "wrong value": changed(optimizer={"type": "dipjax.fitting.optimizers:Adam", "learning_rate": -1}),
    "wrong generator": changed(generator={"type": "dipjax.generators.skip:Skip", "down": [8, "x"]}),
    "strange number": changed(smoothing={"number": "1e3"}), "number of a list": changed(smoothing={"number": [1]}),
    "number of null": changed(smoothing={"number": None}), "no type": changed(loss={"delta": 0.1}),
    "type of null": changed(loss={"type": None}),
    "name of a list": changed(loss={"function": ["jax.numpy:max"]}), "no name": changed(loss={"function": ""}),
    "no path": changed(loss={"function": "jax.numpy:"}),
}  # fmt: skip
NAMES = (
    "os:system", "builtins:exec", "builtins:eval", "subprocess:Popen", "importlib:import_module", "dipjax.record:importlib.import_module",
    "dipjax.core.loop:partial", "dipjax.core.drive:time.sleep", "dipjax.app.cli:main",
    "dipjax.__main__:main", "dipjax:denoise", "dipjax.record:loads",
    "dipjax.files.paths:sweep", "dipjaxevil.core:x", "dipjax.core.loop:jax.config.update", "dipjax.recipes.paper:denoising.__globals__",
    "dipjax.core.recipe:Recipe.__init__.__globals__", "dipjax.core.recipe:Recipe.__class__",
    "jax.numpy:np.save", "jax.nn:initializers.os", "jax:jit",
    "jax.experimental.host_callback:call", "flax.linen:Module.__init__.__globals__",
    "dipjax.core.nothing:x", "dipjax.core..:x", "dipjax.core.loop:",
    "../../evil:x", "dipjax.core.\x00:x", "jax.numpy:pi", "dipjax.core.loop:LONGEST_CHUNK",
)  # fmt: skip
REFUSED |= {f"function {name}": changed(loss={"function": name}) for name in NAMES}
REFUSED |= {f"type {name}": changed(loss={"type": name}) for name in NAMES}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_record_is_refused_in_a_sentence(name):
    with pytest.raises(ValueError, match=r"^(record|recipe[\w.\[\]]*|learning_rate): found .*"):
        Recipe.from_json(REFUSED[name])


@pytest.mark.parametrize("content", [None, 3, b"\xff\xfe", {}])
def test_what_is_no_text_is_refused(content):
    with pytest.raises(ValueError, match="^record: found"):
        record.loads(content)


def test_a_record_with_less_in_it_takes_the_defaults():
    content = json.loads(RECIPE.to_json())
    del content["smoothing"], content["input"]["grain"]
    assert Recipe.from_json(json.dumps(content)) == RECIPE


def test_the_file_of_a_record_has_null_for_what_is_not_finite():
    content = {"psnr": math.inf, "curve": (1.5, math.nan, {"low": -math.inf}), "words": "inf", "steps": 3}
    expected = {"psnr": None, "curve": [1.5, None, {"low": None}], "words": "inf", "steps": 3}
    assert json.loads(record.as_file(content), parse_constant=pytest.fail) == expected


def test_reading_imports_nothing_but_settings():
    """A name outside the packages of settings is refused before its module is looked for."""
    with pytest.raises(ValueError, match="a part made by the user"):
        record.loads('{"function": "dipjax.app.demo:show"}')
