"""The official training step and the loop of the denoising notebook.

Left out on purpose: the notebook's fallback to an older checkpoint after a drop of 5 dB, which restores weights but not
Adam's moments, and on a CPU restores nothing. Seed with `torch.manual_seed`; the official code has no seeds.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

INPUT_SCALE = 0.1  # z ~ U(0, 0.1) in every notebook


def make_input(depth: int, size: int | tuple[int, int], method: str = "noise") -> Tensor:
    """Makes the network input z (1, D, H, W).

    Args:
        depth: channels D of z; 2 for 'meshgrid'.
        size: H and W, or one number for both.
        method: 'noise' for U(0, 0.1), 'meshgrid' for x then y, each from 0 to 1 inclusive (not scaled by 0.1).
    """
    height, width = (size, size) if isinstance(size, int) else size
    if method == "noise":
        return INPUT_SCALE * torch.rand(1, depth, height, width)
    if method != "meshgrid":
        raise ValueError(f"method is {method!r}; expected 'noise' or 'meshgrid'.")
    if depth != 2:
        raise ValueError(f"depth is {depth}; expected 2, the x and the y coordinate of a meshgrid.")
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([x, y])[None]


def uniform_gamma_(net: nn.Module) -> nn.Module:
    """Draws each BatchNorm gamma from U(0, 1) in place, as PyTorch <= 1.1 did when the paper was written."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight)
    return net


def training_step(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    z: Tensor,
    operator: Callable[[Tensor], Tensor],
    measurement: Tensor,
) -> tuple[Tensor, Tensor]:
    """Takes one step on mean((operator(net(z)) - measurement)^2); returns the loss and the picture before the step."""
    optimizer.zero_grad()
    output = net(z)
    predicted = operator(output)
    if predicted.shape != measurement.shape:  # torch would broadcast
        expected, found = tuple(predicted.shape), tuple(measurement.shape)
        raise ValueError(f"measurement has shape {found}; expected {expected}, that of operator(net(z)).")
    loss = nn.functional.mse_loss(predicted, measurement)
    loss.backward()
    optimizer.step()
    return loss.detach(), output.detach()


def train(
    net: nn.Module,
    z: Tensor,
    operator: Callable[[Tensor], Tensor],
    measurement: Tensor,
    *,
    num_iter: int = 3000,
    lr: float = 0.01,
    reg_noise_std: float = 1 / 30,
    exp_weight: float = 0.99,
    noises: Iterable | None = None,
    callback: Callable[[int, Tensor, Tensor, Tensor], None] | None = None,
) -> tuple[Tensor, Tensor, list[float]]:
    """Fits the network to a measurement with Adam; the defaults are those of denoising F16 at sigma 25/255.

    Each step sees z + reg_noise_std * n_t with fresh n_t ~ N(0, 1). Trains `net` in place, batch norm in train mode.

    Args:
        net: the generator, on the device of z.
        z: the fixed input (1, D, H, W).
        operator: the forward model on (1, C, H, W); a module's parameters are not trained.
        measurement: what the operator should give.
        num_iter: steps T, at least 1.
        lr: Adam's learning rate; the rest are torch's defaults.
        reg_noise_std: standard deviation of the jitter; larger regularises more, 0 draws none.
        exp_weight: a in average <- a * average + (1 - a) * output; larger averages over more steps.
        noises: at least T arrays n_t of z's shape, of unit variance (they are still multiplied by reg_noise_std), to
            be used instead of random ones. Not looked at where reg_noise_std is 0.
        callback: called after each step with its number from 0, the loss, the step's output and the average.

    Returns:
        output: the picture (1, C, H, W) of the trained net for the *last jittered* input, as in the notebook.
        average: the exponential average (1, C, H, W) of the outputs of the steps, which starts at the first of them.
        losses: T numbers; each is the loss before its update. They leave the device once, at the end.
    """
    if num_iter < 1:
        raise ValueError(f"num_iter is {num_iter}; expected at least 1.")
    net.train()
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    inputs = _jittered(z, reg_noise_std, noises)
    losses, average = [], None
    for step in range(num_iter):
        jittered = next(inputs, None)
        if jittered is None:
            raise ValueError(f"noises has {step} arrays; expected at least num_iter = {num_iter}.")
        loss, output = training_step(net, optimizer, jittered, operator, measurement)
        average = output if average is None else exp_weight * average + (1 - exp_weight) * output
        losses.append(loss)
        if callback is not None:
            callback(step, loss, output, average)
    with torch.no_grad():
        output = net(jittered)
    return output, average, torch.stack(losses).tolist()


def _jittered(z: Tensor, reg_noise_std: float, noises: Iterable | None) -> Iterator[Tensor]:
    """Yields the network input of each step."""
    while reg_noise_std == 0:
        yield z
    while noises is None:
        yield z + reg_noise_std * torch.randn_like(z)
    for noise in noises:
        # A copy: torch warns about arrays that it may not write to, and those of JAX are such.
        yield z + reg_noise_std * torch.as_tensor(np.array(noise), dtype=z.dtype, device=z.device)
