"""Does the official setting go the same way in dipjax as in PyTorch? PSNR against steps, several seeds of each, on real pictures.

    python -m benchmarks.curves house|butterfly --data DIR [--crop 128] [--steps 1800] [--seeds 2] [--frameworks PyTorch dipjax]
        --json FILE --markdown FILE --figure FILE

House is denoised (sigma 25/255, clipped), the butterfly enlarged four times. The PyTorch side is the mirror of the official network and
training step in `torch_reference`. Every run has its own random start, so the curves can agree only within the spread between seeds.
PSNR is that of every step's output, and of the exponential average of the outputs: RGB, whole picture, range 1, unclipped. Finished runs
of the JSON file are kept.
"""

import argparse
import dataclasses
import json
import platform
from datetime import date
from importlib import metadata
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from benchmarks.generators import make_problems
from dipjax.core import loop as train
from dipjax.operators import problem
from dipjax.recipes import paper

SETTINGS = {"house": ("denoise", paper.denoising), "butterfly": ("superres", paper.super_resolution)}


def make_problem(data, name, crop):
    """Returns the problem of the middle of a picture."""
    task, _ = SETTINGS[name]
    whole = make_problems(data)[task]
    truth = _middle(np.asarray(whole.truth), crop)
    measured = _middle(np.asarray(whole.measurement), crop // 4 if name == "butterfly" else crop)
    return problem.denoising(measured, truth=truth) if task == "denoise" else problem.super_resolution(measured, 4, truth=truth)


def _middle(image, size):
    top, left = ((side - size) // 2 for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def run_dipjax(name, task, num_steps, seed):
    recipe = dataclasses.replace(SETTINGS[name][1](3, num_steps=num_steps), backtracking=None)  # which the mirror has not
    metrics = train.restore(recipe, train.seeds(seed, 1), task).metrics
    return {"output": metrics.psnr[0], "average": metrics.psnr_average[0]}


def in_pytorch(name, task):
    """Returns the operator, the measurement and the truth of a problem for the PyTorch side."""
    import torch

    from benchmarks.torch_reference.downsampler import Downsampler

    operator = Downsampler(3, 4, "lanczos2", phase=0.5, preserve_size=True) if name == "butterfly" else torch.nn.Identity()
    measurement, truth = (torch.tensor(np.asarray(image).transpose(2, 0, 1))[None] for image in (task.measurement, task.truth))
    return operator, measurement, truth


def run_pytorch(name, task, num_steps, seed):
    import torch

    from benchmarks.torch_reference.skip import skip
    from benchmarks.torch_reference.train import make_input, train

    torch.manual_seed(seed)
    operator, measurement, truth = in_pytorch(name, task)
    curves, recipe = {"output": [], "average": []}, SETTINGS[name][1](3)

    def record(step, loss, output, average):
        del step, loss
        for kind, image in (("output", output), ("average", average)):
            curves[kind].append(-10 * torch.log10(torch.mean((image - truth) ** 2)).item())

    net = skip().to(memory_format=torch.channels_last)
    z = make_input(32, task.shape[:2]).contiguous(memory_format=torch.channels_last)
    train(net, z, operator, measurement, num_iter=num_steps, reg_noise_std=recipe.input_noise, callback=record)
    return curves


FRAMEWORKS = {"dipjax": run_dipjax, "PyTorch": run_pytorch}


def smoothed(curve, window=50):
    """Returns the mean over the last `window` steps: a single step is noisy."""
    total = np.cumsum([0.0, *curve])
    return np.array([(total[i] - total[max(0, i - window)]) / min(i, window) for i in range(1, len(total))])


def markdown(runs, arguments):
    steps = [step for step in (100, 200, 300, 500, 700, 1000, 1500, 2000, 2500, 3000) if step < arguments.steps] + [arguments.steps]
    lines = ["| framework, seed | " + " | ".join(map(str, steps)) + " |", "|---" * (len(steps) + 1) + "|"]
    for name, curve in runs.items():
        lines.append(f"| {name} | " + " | ".join(f"{smoothed(curve['output'])[step - 1]:.2f}" for step in steps) + " |")
    size = f"middle {arguments.crop} x {arguments.crop}" if arguments.crop < 256 else "256 x 256"
    torch = f", PyTorch {metadata.version('torch')}" if any(name.startswith("PyTorch") for name in runs) else ""
    command = f"python -m benchmarks.curves {arguments.picture} --crop {arguments.crop} --steps {arguments.steps} --seeds {arguments.seeds}"
    return "\n".join(
        [
            *lines,
            "",
            f"{arguments.picture}, {size}; PSNR in dB of a step's output, RGB, range 1, unclipped, mean of the last 50 steps."
            f" `{command}`; JAX {jax.__version__}{torch}, {platform.machine()} CPU, {date.today()}.",
            "",
        ]
    )


def draw(runs, arguments):
    figure = Figure((7, 4), layout="constrained")
    axes = figure.subplots()
    for name, curve in runs.items():
        axes.plot(smoothed(curve["output"]), color="C0" if name.startswith("dipjax") else "C1", alpha=0.8, label=name)
    axes.set(xlabel="step", ylabel="PSNR of the output (dB), mean of 50 steps", title=f"{arguments.picture}, official setting")
    axes.legend()
    figure.savefig(arguments.figure, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", choices=SETTINGS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=list(FRAMEWORKS))
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    runs = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    task = make_problem(arguments.data, arguments.picture, arguments.crop)
    for seed in range(arguments.seeds):
        for framework in arguments.frameworks:
            name = f"{framework} {seed}"
            if name not in runs:
                curves = FRAMEWORKS[framework](arguments.picture, task, arguments.steps, seed)
                runs[name] = {kind: np.round(curve, 3).tolist() for kind, curve in curves.items()}
                arguments.json.write_text(json.dumps(runs))
    table = markdown(runs, arguments)
    print(table)
    if arguments.markdown:
        arguments.markdown.write_text(table)
    if arguments.figure:
        draw(runs, arguments)


if __name__ == "__main__":
    main()
