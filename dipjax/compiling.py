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
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import serialize_executable

from dipjax import shelf
from dipjax.machine import num_cores

_ON_CPU = {"xla_cpu_use_fusion_emitters": False}
_ONCE = {"xla_backend_optimization_level": 0}  # ready in a third of the time, and slower


class Program:
    """A jitted function with options for the compiler, which has the attributes of one of `jax.jit`, such as `lower`.

    The backend is asked for when the function is first called, and not when it is defined. Called while another is traced, it becomes a
    part of that one, of whose options it is compiled.
    """

    num_read = 0  # programs that were on the shelf, of all functions

    def __init__(self, function: Callable, runs_once: bool, static_argnames: Any):
        """See `compiled`."""
        self._runs_once, self._static_argnames = runs_once, static_argnames
        self._ready: dict[tuple, Any] = {}
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
        if is_traced(jnp.zeros(()), arguments, named):
            return self._inside(*arguments, **named)
        if shelf.is_used() and not jax.config.jax_disable_jit:
            parts = self._parted(arguments, named)
            return self._prepared(parts)()(*parts.arrays)
        return self._jitted(*arguments, **named)

    def prepared(self, *arguments: Any) -> Callable[[], Callable]:
        """Traces the function now, and returns what compiles it, in any thread; or, where that is on the `shelf`, reads it.

        Args:
          arguments: all that the function takes, in their order; of arrays shapes do.

        Returns:
          `() -> program`; the program is called with the arguments that are not static, and has `out_info`, the shapes of what it returns.
          Where JAX is told to compile nothing it is the function.
        """
        return self._prepared(self._parted(arguments, {}))

    def _prepared(self, parts):
        if jax.config.jax_disable_jit:
            plain = _Plain(parts.call, self._inside.eval_shape(*parts.whole))
            return lambda: plain
        types = jax.tree.map(lambda leaf: leaf if hasattr(leaf, "dtype") else type(leaf), parts.arrays)
        key = (self._runs_once, parts.settings, shelf.described(types))
        if (ready := self._ready.get(key)) is not None:
            return lambda: ready
        self._ready[key] = None  # without a shelf JAX has it, and this only counts
        file = shelf.place(self, key, shelf.PROGRAM)
        if (kept := shelf.read(file)) is not None:
            return lambda: self._unpacked(key, kept) or self._compiled(key, self._jitted.lower(*parts.whole), file)
        lowered = self._jitted.lower(*parts.whole)
        return lambda: self._compiled(key, lowered, file)

    def _parted(self, arguments, named):
        bound = self._signature.bind(*arguments, **named)
        bound.apply_defaults()
        static = [self._static_argnames] if isinstance(self._static_argnames, str) else self._static_argnames
        return _Parts(self.__wrapped__, bound.arguments, static)

    @functools.cached_property
    def _signature(self):
        return inspect.signature(self.__wrapped__)

    def _compiled(self, key, lowered, file):
        program = lowered.compile()
        if shelf.is_used():
            self._ready[key] = program
        # jaxlib 0.10.2 writes half of a program that it has read itself, from a cache of JAX.
        if file is not None and not jax.config.jax_compilation_cache_dir:
            shelf.write(file, _packed(program))
        return program

    def _unpacked(self, key, kept):
        """Returns a program that was kept; None where this JAX will not have it."""
        with contextlib.suppress(Exception):
            devices, parts = kept
            program = serialize_executable.deserialize_and_load(*parts, execution_devices=jax.local_devices()[:devices])
            self._ready[key] = program
            Program.num_read += 1
            return program
        return None

    @property
    def num_ready(self) -> int:
        """How many programs of this function were prepared since `forget`."""
        return len(self._ready)

    def __getattr__(self, name: str) -> Any:
        """Returns an attribute of the jitted function."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._jitted, name)

    def __reduce__(self) -> str:
        """Pickles and copies as a function does, by its name."""
        return self.__qualname__


class _Parts:
    """The arguments of one call: all of them in their order, those that are static, with their names, and the others."""

    def __init__(self, function, named, static):
        self._function, self._named, self._static = function, named, static
        self.whole = tuple(named.values())
        self.settings = tuple((name, named[name]) for name in static)
        self.arrays = tuple(value for name, value in named.items() if name not in static)

    def call(self, *arrays):
        """Calls the function with these in the place of the arguments that are not static."""
        left = iter(arrays)
        return self._function(*(value if name in self._static else next(left) for name, value in self._named.items()))


class _Plain(NamedTuple):
    """Stands for a program where JAX is told to compile nothing, as for a debugger."""

    call: Callable
    out_info: Any

    def __call__(self, *arrays):
        with jax.disable_jit():  # in threads too
            return self.call(*arrays)


_PROGRAMS: list[Program] = []  # all that there are: functions of modules


def forget() -> None:
    """Frees all programs, which are compiled again when they are called: each is hundreds of memory maps and megabytes."""
    for program in _PROGRAMS:
        for made in {"_jitted", "_inside"} & vars(program).keys():
            getattr(program, made).clear_cache()
        program._ready.clear()


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
    pool = ThreadPoolExecutor(1 + num_cores())  # one compiles, and leaves others to the rest
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _packed(program):
    """Returns a compiled program as bytes and trees; None where it cannot be.

    Nor may it call a library, such as LAPACK: JAX makes that ready when it lowers the call, and a process that only reads it would crash.
    Which calls would be harmless is not known.
    """
    with contextlib.suppress(Exception):  # whatever this version of JAX says
        if "custom_call_target" in program.as_text():
            return None
        devices = max((len(sharding.device_set) for sharding in jax.tree.leaves(program.input_shardings)), default=1)
        return devices, serialize_executable.serialize(program)
    return None


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
