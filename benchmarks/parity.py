"""Is it the same network? dipjax against the PyTorch mirrors of the official code, from the same weights and the same input.

    python -m benchmarks.parity [--markdown FILE]

Per network: the largest difference, over all pixels, of the two pictures, and over all parameters of the gradients of a mean squared
error. Per operator: of the results. Per training: of the final pictures, and the largest relative difference of the losses of a step.
The tests import the comparisons from here. To add a network, add a row to `NETWORKS`.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import common
from benchmarks.torch_reference import train as mirror
from benchmarks.torch_reference.downsampler import Downsampler
from benchmarks.torch_reference.resnet import resnet
from benchmarks.torch_reference.skip import skip
from benchmarks.torch_reference.unet import UNet as MirrorUNet
from dipjax import interop, operators
from dipjax.core import loop
from dipjax.core.recipe import Recipe, transformation
from dipjax.core.state import State
from dipjax.fitting.optimizers import Adam
from dipjax.generators import blocks
from dipjax.generators.resnet import ResNet
from dipjax.generators.skip import Skip
from dipjax.generators.unet import UNet
from dipjax.operators import problem, resampling

TAPERED = (16, 32, 64, 128, 128, 128)
WIDE, NARROW = (128,) * 5, (16,) * 3
INPUT_SCALE = 0.1  # of the official z; small, so that the epsilon of the normalisation counts
JITTER = 1 / 30


def quick_jit() -> Callable:
    """Returns `jax.jit` with an option of XLA that compiles small networks three times faster, where this XLA knows it."""
    quick = partial(jax.jit, compiler_options={"xla_cpu_use_fusion_emitters": False})
    try:
        quick(jnp.sin)(0.0)
    except jax.errors.JaxRuntimeError:
        return jax.jit
    return quick


class Difference(NamedTuple):
    """Largest absolute differences of a network, with the largest gradient to judge them by."""

    num_parameters: int
    output: float
    gradient: float
    largest_gradient: float


class Training(NamedTuple):
    """What `train_both` found."""

    output: float  # largest absolute difference of the final pictures
    losses: np.ndarray  # (T,), of dipjax
    mirror_losses: np.ndarray  # (T,), of the mirror

    @property
    def loss(self) -> float:
        """The largest relative difference of the losses of a step."""
        return float(np.max(np.abs(self.losses / self.mirror_losses - 1)))


def official(down, skips, **options):
    """The official skip net with as many channels up as down, for three channels."""
    return partial(skip, channels_down=down, channels_up=down, channels_skip=skips, **options)


# Name: the mirror, the same in dipjax, the channels of z, height and width.
NETWORKS = {
    "skip, official default": (skip, Skip(), 32, 128),
    "skip, vase (no skips, nearest)": (
        official(WIDE, (0,) * 5, upsample_mode="nearest", in_channels=2),
        Skip(skip=(0,) * 5, upsample=blocks.nearest),
        2,
        128,
    ),
    "skip, kate (128 skip channels, nearest)": (
        official(WIDE, WIDE, upsample_mode="nearest"),
        Skip(skip=WIDE, upsample=blocks.nearest),
        32,
        128,
    ),
    "skip, library (6 levels, no skips)": (
        official(TAPERED, (0,) * 6, filter_size_down=5, need1x1_up=False, upsample_mode="nearest", in_channels=1),
        Skip(down=TAPERED, up=TAPERED, skip=(0,) * 6, kernel_down=5, use_1x1=False, upsample=blocks.nearest),
        1,
        192,
    ),
    "U-Net, library": (lambda: MirrorUNet(1, 3, feature_scale=8, more_layers=1), UNet(feature_scale=8), 1, 128),
    "ResNet, library": (lambda: resnet(1, 3, 8, 32), ResNet(), 1, 128),
}


def randomize_norms_(net: torch.nn.Module) -> torch.nn.Module:
    """Draws the scales and shifts of all normalisations: where all are 1 and 0, the output would not tell them apart."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    return net


def noise(*shape: int, scale: float = INPUT_SCALE, seed: int = 0) -> np.ndarray:
    """Returns uniform noise `(H, W, C)`."""
    return np.float32(scale) * np.random.default_rng(seed).random(shape, np.float32)


def to_nchw(image: Any) -> torch.Tensor:
    """Maps `(H, W, C)` to `(1, C, H, W)`."""
    return torch.tensor(np.moveaxis(np.asarray(image), -1, 0)[None])


def to_hwc(image: torch.Tensor) -> np.ndarray:
    """Maps `(1, C, H, W)` to `(H, W, C)`."""
    return np.moveaxis(image.detach().numpy()[0], 0, -1)


def furthest(ours: Any, theirs: Any) -> float:
    """Returns the largest absolute difference of two trees of equal shapes."""
    jax.tree.map(lambda a, b: np.testing.assert_equal(np.shape(a), np.shape(b)), ours, theirs)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True))


def compare(
    net: torch.nn.Module,
    generator: Any,
    convert: Callable,
    z: np.ndarray,
    *,
    frame: int = 0,
    jit: Callable = jax.jit,
) -> Difference:
    """Feeds the same z to both networks with the same weights, and takes the gradients of a mean squared error.

    Args:
      net: the mirror.
      generator: that of dipjax, with the same options.
      convert: turns a state dict of `net`, or one of its gradients, into params of the generator.
      z: `(H, W, D)`.
      frame: pixels that the mirror has more on every side, as the official DCGAN.
      jit: compiles, `jax.jit` or quicker.
    """
    params = convert(net.state_dict())
    picture = net(to_nchw(z))
    picture = picture[:, :, frame : picture.shape[2] - frame, frame : picture.shape[3] - frame]
    target = noise(*to_hwc(picture).shape, scale=1.0, seed=1)

    def objective(params):
        image = generator.apply(params, z)
        return jnp.mean((image - target) ** 2), image

    with jax.default_matmul_precision("highest"):
        (_, image), ours = jit(jax.value_and_grad(objective, has_aux=True))(params)
    torch.nn.functional.mse_loss(picture, to_nchw(target)).backward()
    # The mirror trains the kernels of its Lanczos pooling, as the official code does; dipjax has no parameters there.
    theirs = convert({name: value if ".downsampler_." in name else value.grad for name, value in net.named_parameters()})
    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(theirs))
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    return Difference(count, furthest(image, to_hwc(picture)), furthest(ours, theirs), largest)


def train_both(
    net: torch.nn.Module,
    generator: Any,
    z: np.ndarray,
    task: problem.Problem,
    operator: torch.nn.Module | Callable[[torch.Tensor], torch.Tensor],
    *,
    num_steps: int = 50,
    jit: Callable = jax.jit,
) -> Training:
    """Trains both networks from the same weights, with the same jitter in every step.

    In the precision of z: float32 lets both drift apart, as a network of PyTorch does from itself in float64, because Adam divides
    gradients that are zero but for rounding by their own size. In float64, for which JAX must be told `jax_enable_x64`, they agree.
    """
    task = jax.tree.map(lambda leaf: jnp.asarray(leaf, z.dtype), task)
    recipe, state = start(generator, z, task, jit)
    params = jax.tree.map(lambda leaf: leaf.astype(z.dtype), interop.from_torch(generator, net.state_dict(), depth=z.shape[-1]))
    state = state._replace(params=params, opt_state=transformation(recipe.optimizer, 0.0).init(params))
    noises = [loop.noise(state._replace(step=step)) for step in range(num_steps)]
    step, losses = jit(partial(loop.train_step, recipe)), []
    for _ in range(num_steps):
        state, metrics = step(state, task)
        losses.append(float(metrics.loss))
    image = picture_of(generator, state.params, z + JITTER * noises[-1], jit)
    dtype = to_nchw(z).dtype
    operator = operator.to(dtype) if isinstance(operator, torch.nn.Module) else operator
    options = {"num_iter": num_steps, "reg_noise_std": JITTER, "noises": [to_nchw(noise).numpy() for noise in noises]}
    picture, _, mirror_losses = mirror.train(net.to(dtype), to_nchw(z), operator, to_nchw(task.measurement).to(dtype), **options)
    return Training(furthest(image, to_hwc(picture)), np.array(losses), np.array(mirror_losses))


def train_mirror_twice(build: Callable, z: np.ndarray, picture: np.ndarray, *, num_steps: int = 50) -> Training:
    """Trains the mirror to denoise in float32 and in float64, from the same weights and with the same jitter."""
    noises = np.random.default_rng(0).standard_normal((num_steps, *to_nchw(z).shape), np.float32)
    results = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        net, options = build().to(dtype), {"num_iter": num_steps, "noises": noises}
        output, _, losses = mirror.train(net, to_nchw(z).to(dtype), lambda image: image, to_nchw(picture).to(dtype), **options)
        results.append((to_hwc(output), np.array(losses)))
    (single, losses), (double, double_losses) = results
    return Training(furthest(single, double), losses, double_losses)


def trained_in_torch(net, generator, z, task, *, num_steps=200, jit=jax.jit) -> float:
    """Trains the mirror to denoise, converts it, and returns the largest difference of the pictures."""
    mirror.train(net, to_nchw(z), lambda image: image, to_nchw(task.measurement), num_iter=num_steps)
    params = interop.from_torch(generator, net.state_dict(), depth=z.shape[-1])
    return furthest(picture_of(generator, params, z, jit), to_hwc(net(to_nchw(z))))


def trained_in_dipjax(net, generator, z, task, *, num_steps=200, jit=jax.jit) -> float:
    """Trains dipjax to denoise, converts that, and returns the largest difference of the pictures."""
    recipe, state = start(generator, z, task, jit)
    state, _ = jit(partial(loop.chunk, recipe))(state, task, num_steps, num_steps)
    net.load_state_dict(interop.to_torch(generator, state.params), strict=True)
    return furthest(picture_of(generator, state.params, z, jit), to_hwc(net(to_nchw(z))))


def start(generator, z, task, jit) -> tuple[Recipe, State]:
    """Returns the official method in full precision, with z as its input, and its first state."""
    z = jnp.asarray(z)
    recipe = Recipe(generator, lambda key, task: z, Adam(0.01), input_noise=JITTER, precision="highest")
    return recipe, jit(partial(loop.init, recipe))(jax.random.key(0), task)


def picture_of(generator, params, z, jit) -> jax.Array:
    with jax.default_matmul_precision("highest"):
        return jit(generator.apply)(params, z)


def downsampling(factor: int, kernel: resampling.Kernel, name: str, *, height: int = 64, width: int = 96) -> float:
    """Returns the largest difference of the two operators that shrink a random picture; the mirror's sums are in float64."""
    image = noise(height, width, 3, scale=1.0)
    theirs = Downsampler(3, factor, name, phase=0.5, preserve_size=True).double()
    return furthest(operators.Downsample(factor, kernel)(jnp.asarray(image)), to_hwc(theirs(to_nchw(image).double())))


def rows():
    """Yields the rows of the table."""
    for name, (build, generator, depth, size) in NETWORKS.items():
        torch.manual_seed(0)
        convert = partial(interop.from_torch, generator, depth=depth)
        found = compare(randomize_norms_(build()), generator, convert, noise(size, size, depth))
        yield name, f"{size} x {size}", f"{found.num_parameters:,}", f"{found.output:.1e}", f"{found.gradient:.1e}", ""
    for factor in (4, 8):
        for name, kernel in (("lanczos2", resampling.LANCZOS2), ("lanczos3", resampling.LANCZOS3)):
            found = downsampling(factor, kernel, name, height=256, width=256)
            yield f"downsampling by {factor}, {name}", "256 x 256", "", f"{found:.1e}", "", ""

    # Five levels would normalise 2 x 2 pixels: there 50 steps turn 1e-15 into 1e-3, for PyTorch alone as well. Narrow, because the
    # convolutions of JAX in float64 are slow on a CPU.
    size, build, generator = 64, official(NARROW, (4,) * 3), Skip(down=NARROW, up=NARROW, skip=(4,) * 3)
    z, picture = noise(size, size, 32), noise(size, size, 3, scale=1.0, seed=2)
    tasks = {
        "denoising": (problem.denoising(picture), lambda image: image),
        "super-resolution by 4": (
            problem.super_resolution(picture[: size // 4, : size // 4], 4),
            Downsampler(3, 4, "lanczos2", phase=0.5, preserve_size=True),
        ),
    }
    shared = ("64 x 64", f"{sum(value.numel() for value in build().parameters()):,}")
    for name, (task, operator) in tasks.items():
        for dtype in (np.float64, np.float32):
            torch.manual_seed(0)
            jax.config.update("jax_enable_x64", dtype is np.float64)
            found = train_both(build(), generator, z.astype(dtype), task, operator, jit=quick_jit())
            yield f"50 steps of Adam, 3 levels, {name}, {dtype.__name__}", *shared, f"{found.output:.1e}", "", f"{found.loss:.1e}"
    found = train_mirror_twice(build, z, picture)
    yield (
        "50 steps of Adam, 3 levels, denoising, PyTorch in float32 and in float64",
        *shared,
        f"{found.output:.1e}",
        "",
        f"{found.loss:.1e}",
    )
    task, shared = problem.denoising(picture), ("64 x 64", f"{sum(value.numel() for value in skip().parameters()):,}")
    for name, function in (("PyTorch, converted to dipjax", trained_in_torch), ("dipjax, converted to PyTorch", trained_in_dipjax)):
        torch.manual_seed(0)
        yield f"200 steps in {name}", *shared, f"{function(skip(), Skip(), z, task):.1e}", "", ""


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    options = common.parser(__doc__).parse_args(argv)
    titles = ("largest difference", "picture", "parameters", "output", "gradients", "loss of a step, relative")
    found = []
    for row in rows():
        found.append(row)
        print(*row, file=sys.stderr, flush=True)
    made = f"`{common.command('parity', argv)}`, float32 where not said otherwise; {common.made()}."
    common.publish([*common.table(titles, found), "", made], options.markdown)


if __name__ == "__main__":
    main()
