"""Functions that are compiled for the backend in use, with what makes compilation quick there.

On a CPU most of the time until the first step is compilation, and most of that is LLVM's work on the code of the kernels. XLA's older
emitters of kernels (JAX 0.10.2) make code that is as fast and is compiled in half of the time (benchmarks/PERFORMANCE.md).

Examples:
  >>> from dipjax.compiling import compiled
  >>> doubled = compiled()(lambda x: 2 * x)
  >>> float(doubled(1.0)), float(jax.jit(doubled)(2.0))
  (2.0, 4.0)
"""

import contextlib
import functools
import gc
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp

_ON_CPU = {"xla_cpu_use_fusion_emitters": False}
_ONCE = {"xla_backend_optimization_level": 0}  # ready in a third of the time, and slower


class Program:
    """A jitted function with options for the compiler, which has the attributes of one of `jax.jit`, such as `lower`.

    The backend is asked for when the function is first called, and not when it is defined. Called while another is traced, it becomes a
    part of that one, of whose options it is compiled.
    """

    def __init__(self, function: Callable, runs_once: bool, static_argnames: Any):
        """See `compiled`."""
        self._runs_once, self._static_argnames = runs_once, static_argnames
        functools.update_wrapper(self, function)
        _PROGRAMS.append(self)

    @functools.cached_property
    def _jitted(self):
        return jax.jit(self.__wrapped__, static_argnames=self._static_argnames, compiler_options=_options(self._runs_once))

    @functools.cached_property
    def _inside(self):
        @functools.wraps(self.__wrapped__)
        def inside(*arguments, **named):  # another function: what JAX has compiled of one lives as long as anything traced with it
            return self.__wrapped__(*arguments, **named)

        return jax.jit(inside, static_argnames=self._static_argnames)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Calls the function."""
        # Inside a function that is traced, what is made of nothing is traced too.
        return (self._inside if is_traced(jnp.zeros(()), arguments, named) else self._jitted)(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        """Returns an attribute of the jitted function."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._jitted, name)

    def __reduce__(self) -> str:
        """Pickles and copies as a function does, by its name."""
        return self.__qualname__


_PROGRAMS: list[Program] = []  # all that there are: functions of modules


def forget() -> None:
    """Frees all programs, which are compiled again when they are called: each is thousands of memory maps and megabytes."""
    for program in _PROGRAMS:
        for made in {"_jitted", "_inside"} & vars(program).keys():
            getattr(program, made).clear_cache()


def compiled(*, runs_once: bool = False, static_argnames: Any = ()) -> Callable[[Callable], Program]:
    """Returns what makes a function a `Program`.

    Args:
      runs_once: whether the program runs so seldom that it need not be fast.
      static_argnames: as for `jax.jit`.
    """
    return lambda function: Program(function, runs_once, static_argnames)


def is_traced(*trees: Any) -> bool:
    """Says whether an array among these is one of a function that is traced, and no number yet."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Keeps Python from looking for garbage: what is traced is none, and looking through it again and again takes a fifth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    """Gives threads for what does not hold Python up; what has not begun when something fails is left undone."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@functools.cache
def _options(runs_once):
    """Returns the options for this backend, None where its compiler does not know them."""
    if jax.default_backend() != "cpu":
        return None
    options = _ON_CPU | (_ONCE if runs_once else {})
    try:
        with jax.ensure_compile_time_eval():
            jax.jit(lambda: 0, compiler_options=options)()
    except jax.errors.JaxRuntimeError:
        return None
    return options
