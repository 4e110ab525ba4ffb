"""Parameters from PyTorch and back: the official skip network, U-Net and ResNet, under their official state-dict names.

A converted network computes the same picture: `generator.apply(params, z)` for z `(H, W, D)` equals `net(z)` for z `(1, D, H, W)`, with
batch normalisation in training mode, as the official code always uses it (its running statistics are neither read nor kept), wherever
the official network takes that size: an odd side that it halves by pooling loses a row there, and here repeats one. Single precision
stays single and double stays double, where JAX has 64 bits switched on; half becomes single. Only `load`, `save` and `to_torch` need
PyTorch. To add a network, add a function that pairs the names, and a line to `_NAMES`.

Reference: github.com/DmitryUlyanov/deep-image-prior, models/skip.py, models/unet.py, models/resnet.py.

Examples:
  >>> net = dipjax.generators.ResNet(1, num_blocks=0, width=4)  # whose arrays have these names and shapes in PyTorch:
  >>> shapes = {"model.0.1": (4, 8, 3, 3), "model.2": (4, 4, 3, 3), "model.3": (4,), "model.4.1": (1, 4, 3, 3)}
  >>> state = {f"{name}.weight": np.ones(shape) for name, shape in shapes.items()}
  >>> state |= {f"{name}.bias": np.zeros(shape[0]) for name, shape in shapes.items()}
  >>> params = dipjax.interop.from_torch(net, state, depth=8)
  >>> params["params"]["first"]["kernel"].shape
  (3, 3, 8, 4)
"""

import io
import os
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dipjax import files
from dipjax.generators import blocks
from dipjax.generators.resnet import ResNet
from dipjax.generators.skip import Skip, at_level
from dipjax.generators.unet import UNet
from dipjax.operators import resampling

_OIHW, _IOHW, _SAME = (3, 2, 0, 1), (2, 3, 0, 1), None
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_MOST_LISTED = 20
_LANCZOS = {blocks.lanczos2_pool: resampling.LANCZOS2, blocks.lanczos3_pool: resampling.LANCZOS3}


class _Pair(NamedTuple):
    path: str  # of the parameter in dipjax, joined by slashes
    name: str  # in the state dict
    axes: tuple[int, ...] | None  # from dipjax's order of axes to PyTorch's


def from_torch(generator: Skip | UNet | ResNet, state_dict: Mapping[str, Any], *, depth: int = 32) -> Any:
    """Returns the parameters of `generator` that a PyTorch network has.

    Args:
      generator: with the options of the PyTorch network.
      state_dict: `net.state_dict()`: tensors, or arrays, by their official names.
      depth: channels D of the input z.

    Returns:
      The params of `generator.apply(params, z)`.

    Raises:
      ValueError: names are missing or unexpected, or shapes differ; the message lists them.
    """
    state = {name: value for name, value in state_dict.items() if name.rpartition(".")[2] not in _BUFFERS}
    pairs, template = _pairs(generator), _shapes(generator, depth)
    fixed = _fixed(generator, pairs)
    expected = {pair.name: _order(np.empty(template[pair.path]), pair.axes).shape for pair in pairs}
    expected |= {name: value.shape for name, value in fixed.items()}
    _compare(generator, {name: tuple(np.shape(value)) for name, value in state.items()}, expected)
    arrays = {name: _array(value) for name, value in state.items()}
    trained = [name for name, value in fixed.items() if not np.allclose(arrays[name], value, atol=1e-5)]
    _refuse(generator, trained, "trained Lanczos kernels, which are fixed in dipjax")
    return _nest({pair.path: _order(arrays[pair.name], pair.axes and np.argsort(pair.axes)) for pair in pairs})


def to_torch(generator: Skip | UNet | ResNet, params: Any) -> dict[str, Any]:
    """Returns the state dict of the official PyTorch network: tensors on the CPU, for `net.load_state_dict`.

    Args:
      generator: the network.
      params: what `generator.init` made, or a run's `result.state.params` (of one run).

    Raises:
      ValueError: params are those of another generator.
      ImportError: PyTorch is not installed.

    Examples:
      `net.load_state_dict(dipjax.interop.to_torch(generator, params))`, after which the network of PyTorch makes the same picture.
    """
    import torch

    leaves = {path: np.asarray(leaf) for path, leaf in _flat(params).items()}
    dtype = np.result_type(np.float32, *{leaf.dtype for leaf in leaves.values()})
    pairs, state = _pairs(generator), {}
    first = leaves.get(_FIRST[type(generator)], np.empty((1,) * 4))  # where it is missing, any depth serves to say so
    _compare(generator, {path: leaf.shape for path, leaf in leaves.items()}, _shapes(generator, first.shape[2]), " in params")
    for pair in pairs:
        state[pair.name] = torch.tensor(_order(leaves[pair.path].astype(dtype), pair.axes))
        if pair.path.endswith(("norm/bias", "join_bias")):  # what a strict `load_state_dict` wants to see
            prefix = pair.name.removesuffix("bias")
            mean = torch.zeros_like(state[pair.name])
            state |= {f"{prefix}running_mean": mean, f"{prefix}running_var": torch.ones_like(mean)}
            state[f"{prefix}num_batches_tracked"] = torch.tensor(0)
    return state | {name: torch.tensor(value.astype(dtype)) for name, value in _fixed(generator, pairs).items()}


def load(path: str | os.PathLike, generator: Skip | UNet | ResNet, *, depth: int = 32) -> Any:
    """Reads parameters from a file that `torch.save(net.state_dict(), path)` has written; see `from_torch`.

    Only tensors are read: a file that holds any other object, which could run code, is refused.

    Args:
      path: the file.
      generator: with the options of the PyTorch network.
      depth: channels D of the input z.

    Returns:
      The params of `generator.apply(params, z)`.

    Raises:
      ValueError: the file holds something else than the tensors of this network.
      OSError: it cannot be read.
      ImportError: PyTorch is not installed.
    """
    import torch

    with open(path, "rb") as file:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        # A broken file makes PyTorch raise nearly anything: KeyError, IndexError, AssertionError, struct.error, OSError.
        except Exception as error:
            raise ValueError(f"{path}: found no plain tensors, expected what torch.save(net.state_dict(), path) writes.") from error
    if not (isinstance(state, Mapping) and all(isinstance(value, torch.Tensor) for value in state.values())):
        raise ValueError(f"{path}: found a {type(state).__name__} of other things than tensors, expected a state dict.")
    return from_torch(generator, state, depth=depth)


def save(path: str | os.PathLike, generator: Skip | UNet | ResNet, params: Any) -> None:
    """Writes parameters for PyTorch: `net.load_state_dict(torch.load(path))`; see `to_torch`.

    The file is complete or, after an error, as it was; it may replace another one, whose permissions it keeps.

    Args:
      path: the file.
      generator: the network.
      params: as for `to_torch`.

    Raises:
      ValueError: params are those of another generator.
      OSError: it cannot be written.
      ImportError: PyTorch is not installed.
    """
    import torch

    os.stat(os.path.dirname(path) or os.curdir)  # where there is no such folder, this says so as `open` does
    buffer = io.BytesIO()
    torch.save(to_torch(generator, params), buffer)
    files.write(path, buffer.getvalue(), force=True)


def _pairs(generator) -> list[_Pair]:
    if type(generator) not in _NAMES:
        expected = ", ".join(known.__name__ for known in _NAMES)
        raise ValueError(f"generator: found {type(generator).__name__}, expected one of {expected}, whose official names are known.")
    if generator.padding not in {"reflect", "zero"}:
        raise ValueError(f"padding: found {generator.padding!r}, expected 'reflect' or 'zero', which the official networks have.")
    return list(_NAMES[type(generator)](generator))


def _skip(generator: Skip) -> Iterator[_Pair]:
    """Children of every level are numbered from 1: concatenation, norm, conv, norm, activation, conv, norm, activation."""
    level = ""
    for i, num_skip in enumerate(generator.skip):
        deep = f"{level}1.1." if num_skip else f"{level}1."
        for path, conv, norm in ((f"down{i}a", 1, 2), (f"down{i}b", 4, 5)):
            yield from _conv(f"{path}/conv", f"{deep}{conv}.", generator)
            yield from _norm(f"{path}/norm", f"{deep}{norm}.")
        if num_skip:
            yield from _conv(f"skip{i}/conv", f"{level}1.0.1.", generator)
            yield from _norm(f"skip{i}/norm", f"{level}1.0.2.")
        yield from (_Pair(f"up{i}/join_scale", f"{level}2.weight", _SAME), _Pair(f"up{i}/join_bias", f"{level}2.bias", _SAME))
        yield from _conv(f"up{i}", f"{level}3.", generator)
        yield from _norm(f"up{i}/norm", f"{level}4.")
        if generator.use_1x1:
            yield from _conv(f"mix{i}/conv", f"{level}6.", generator)
            yield from _norm(f"mix{i}/norm", f"{level}7.")
        level = f"{deep}7."
    yield from _conv("head", "9." if generator.use_1x1 else "6.", generator)


def _unet(generator: UNet) -> Iterator[_Pair]:
    def two_convs(path, name, *, norm):
        for letter, number in (("a", 1), ("b", 2)):
            yield from _conv(f"{path}{letter}", f"{name}conv{number}.0.", generator)
            if norm:
                yield from _norm(f"{path}{letter}_norm", f"{name}conv{number}.1.")

    for stage in range(5 + generator.more_layers):
        name = "start." if stage == 0 else f"down{stage}.conv." if stage < 5 else f"more_downs.{stage - 5}.conv."
        yield from two_convs(f"down{stage}", name, norm=generator.use_norm and generator.affine)
    for stage in range(4 + generator.more_layers):
        name = f"up{stage + 1}." if stage < 4 else f"more_ups.{stage - 4}."
        if generator.upsample is None:
            yield from (_Pair(f"up{stage}/kernel", f"{name}up.weight", _IOHW), _Pair(f"up{stage}/bias", f"{name}up.bias", _SAME))
        else:
            yield from _conv(f"up{stage}", f"{name}up.1.", generator)
        yield from two_convs(f"join{stage}", f"{name}conv.", norm=False)
    yield from _conv("head", "final." if generator.output is blocks.identity else "final.0.", generator)


def _resnet(generator: ResNet) -> Iterator[_Pair]:
    yield from _conv("first", "model.0.", generator)
    for j in range(generator.num_blocks):
        for letter, conv in (("a", 0), ("b", 3)):
            yield _Pair(f"block{j}{letter}/conv/kernel", f"model.{j + 2}.{conv}.weight", _OIHW)
            yield from _norm(f"block{j}{letter}/norm", f"model.{j + 2}.{conv + 1}.")
    last = generator.num_blocks + 2
    yield from (_Pair("merge/conv/kernel", f"model.{last}.weight", _OIHW), _Pair("merge/conv/bias", f"model.{last}.bias", _SAME))
    yield from _norm("merge/norm", f"model.{last + 1}.")
    yield from _conv("last", f"model.{last + 2}.", generator)


def _conv(path, name, generator):
    """A padded convolution is a Sequential, in which a reflection comes first."""
    child = 1 if generator.padding == "reflect" else 0
    yield _Pair(f"{path}/kernel", f"{name}{child}.weight", _OIHW)
    if getattr(generator, "use_bias", True):
        yield _Pair(f"{path}/bias", f"{name}{child}.bias", _SAME)


def _norm(path, name):
    yield from (_Pair(f"{path}/scale", f"{name}weight", _SAME), _Pair(f"{path}/bias", f"{name}bias", _SAME))


_NAMES = {Skip: _skip, UNet: _unet, ResNet: _resnet}
_FIRST = {Skip: "down0a/conv/kernel", UNet: "down0a/kernel", ResNet: "first/kernel"}  # whose inputs are the channels of z


def _fixed(generator, pairs):
    """Returns what the official Lanczos pooling keeps in the state dict, a dense convolution, and dipjax computes."""
    if not isinstance(generator, Skip):
        return {}
    fixed, names = {}, {pair.path: pair.name for pair in pairs}
    for i, width in enumerate(generator.down):
        pool = at_level(generator.pool, i)
        if pool in _LANCZOS:
            level, conv, _ = names[f"down{i}a/conv/kernel"].rsplit(".", 2)  # the pooling is the next child
            prefix = f"{level}.{int(conv) + 1}.downsampler_."
            # A row of the matrix that shrinks a long line, far from its ends, is the kernel.
            line = resampling.matrix(64, 2, _LANCZOS[pool])[16]
            line = line[line != 0]
            weight = np.eye(width)[:, :, None, None] * np.outer(line, line)
            fixed |= {f"{prefix}weight": weight, f"{prefix}bias": np.zeros(width)}
    return fixed


def _shapes(generator, depth):
    z = jax.ShapeDtypeStruct((64, 64, depth), jnp.float32)
    return {path: leaf.shape for path, leaf in _flat(jax.eval_shape(generator.init, jax.random.key(0), z)).items()}


def _flat(params):
    """Turns {"params": {"a": {"b": leaf}}} into {"a/b": leaf}."""
    return {"/".join(key.key for key in path[1:]): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


def _array(value):
    if hasattr(value, "detach"):  # NumPy cannot read every tensor of half precision
        value = value.detach().cpu()
        value = value.float() if value.dtype.itemsize < 4 else value
    array = np.asarray(value)
    return array.astype(jax.dtypes.canonicalize_dtype(np.promote_types(array.dtype, np.float32)))


def _order(array, axes):
    return array if axes is None else np.transpose(array, axes)


def _nest(flat):
    """Turns {"a/b": array} into {"params": {"a": {"b": array}}}: undoes `_flat`."""
    tree = {}
    for path, array in flat.items():
        *parents, last = path.split("/")
        reduce(lambda node, key: node.setdefault(key, {}), parents, tree)[last] = jnp.asarray(array)
    return {"params": tree}


def _compare(generator, found, expected, where=""):
    """Refuses other names or shapes than the expected ones."""
    _refuse(generator, [name for name in expected if name not in found], f"missing{where}")
    _refuse(generator, [name for name in found if name not in expected], f"unexpected{where}")
    wrong = [f"{name} has shape {found[name]} instead of {shape}" for name, shape in expected.items() if found[name] != shape]
    _refuse(generator, wrong, f"of the wrong shape{where}")


def _refuse(generator, names, fault):
    if names:
        listed = ", ".join(names[:_MOST_LISTED]) + (f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else "")
        raise ValueError(f"{type(generator).__name__}: found {len(names)} tensors {fault}: {listed}; do all options of the networks agree?")
