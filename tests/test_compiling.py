"""Compiled functions with options: they give what the function gives, wherever they are called, and whatever the compiler knows."""

import copy
import gc
import pickle
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dipjax import compiling
from dipjax.compiling import compiled
from dipjax.core import loop


@pytest.fixture(autouse=True)
def anew():
    compiling._options.cache_clear()
    yield
    compiling._options.cache_clear()


def power(x, exponent):
    """Raises it."""
    return x**exponent


@pytest.mark.parametrize("runs_once", [False, True])
def test_a_program_gives_what_its_function_gives_also_inside_others(runs_once):
    program = compiled(runs_once=runs_once, static_argnames="exponent")(power)
    x = np.arange(4.0, dtype=np.float32)
    np.testing.assert_allclose(program(x, 3), x**3)
    np.testing.assert_allclose(program(x, exponent=2), x**2)
    np.testing.assert_allclose(jax.jit(lambda x: program(x, 3))(x), x**3)
    np.testing.assert_allclose(jax.vmap(lambda x: program(x, 3))(x), x**3)
    np.testing.assert_allclose(jax.grad(lambda x: program(x, 3).sum())(x), 3 * x**2)


def test_it_has_the_name_and_the_words_of_the_function_and_the_attributes_of_a_jitted_one():
    program = compiled(static_argnames="exponent")(power)
    assert (program.__name__, program.__doc__) == ("power", "Raises it.")
    assert program.eval_shape(jnp.ones(3), 2).shape == (3,)
    assert program.lower(jnp.ones(3), 2).compile()(jnp.ones(3)).shape == (3,)


def test_it_is_called_inside_a_function_that_is_traced_with_arguments_that_are_not():
    program = compiled(static_argnames="exponent")(power)
    assert float(jax.jit(lambda x: x + program(np.float32(3), 2))(1.0)) == 10
    assert jax.eval_shape(lambda: program(np.ones(3, np.float32), 2)).shape == (3,)


def test_it_is_not_compiled_anew_whenever_it_is_called_under_vmap(caplog):
    program, x = compiled(static_argnames="exponent")(power), jnp.ones(5)
    jax.vmap(lambda x: program(x, 3))(x)
    with jax.log_compiles():
        jax.vmap(lambda x: program(x, 3))(x)
    assert not any("XLA compilation" in record.getMessage() for record in caplog.records)


def test_what_waits_in_threads_is_not_waited_for_when_something_fails():
    done = []
    with pytest.raises(ValueError, match="something"), compiling.threads() as pool:
        for n in range(100):
            pool.submit(lambda n=n: (time.sleep(0.05), done.append(n)))
        raise ValueError("something")
    assert len(done) < 10


def test_garbage_is_looked_for_again_whatever_happens():
    with pytest.raises(ValueError, match="something"), compiling.undisturbed():
        assert not gc.isenabled()
        raise ValueError("something")
    assert gc.isenabled()


def test_it_is_copied_and_pickled_as_a_function_is():
    assert copy.copy(loop.begun) is loop.begun and copy.deepcopy({"a": loop.begun})["a"] is loop.begun
    assert pickle.loads(pickle.dumps(loop.begun)) is loop.begun


def test_without_compilation_a_program_is_the_function_whose_arguments_are_numbers():
    seen = []

    def noted(x, exponent, y):
        seen.append(type(x))
        return power(x, exponent) + y

    program = compiled(static_argnames="exponent")(noted)
    with jax.disable_jit():
        made = program.prepared(jax.ShapeDtypeStruct((3,), np.float32), 2, 1.0)()
        assert made.out_info.shape == (3,)
        np.testing.assert_allclose(made(np.arange(3, dtype=np.float32), 1.0), [1, 2, 5])
        assert program(2, 3, 1) == 9
    assert seen[-2:] == [np.ndarray, int]


@pytest.mark.parametrize("runs_once", [False, True])
def test_options_that_the_compiler_does_not_know_are_left_out(monkeypatch, runs_once):
    monkeypatch.setattr(compiling, "_ON_CPU", {"xla_cpu_of_a_version_that_is_not": True})
    assert compiling._options(runs_once) is None
    assert float(compiled(runs_once=runs_once)(lambda x: x + 1)(1.0)) == 2


def test_other_devices_have_no_options(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiling._options(True) is None
