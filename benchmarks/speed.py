"""Is a training step faster than in PyTorch? The official network, the same size and precision, side by side.

    python -m benchmarks.speed [--sizes 64 128 256 512] [--width 128] [--rounds 5] [--compile] --json FILE --markdown FILE

A step is forward, backward, Adam and the jitter of the input (denoising, float32). dipjax runs it inside `train.run`, as it does for
users, without the average and the metrics being left out; PyTorch is the mirror of the official network in `torch_reference`, eager in
both memory formats, with `--compile` also through `torch.compile`, and on a GPU as a CUDA graph. Every contestant is a process of its
own; they take turns, and begin each with a step that does not count. Reported are medians over the rounds with the smallest and the
largest, and the median of the ratios of each round. Compilation is left out of the steps and reported apart.

GFLOP are nominal: what PyTorch counts for the convolutions of the mirror, forward and backward. dipjax computes the same gradient with
fewer (a convolution of a doubled image is done on the small one), so its rate may exceed that of the matrix product of two 4096 x
4096 arrays (8192 on a GPU), which every process measures too.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks import turns

CONTESTANTS = ("dipjax", "contiguous", "channels_last")
ON_REQUEST = ("compile",)
ON_GPU = ("cuda_graph",)


def dipjax_worker(arguments):
    import dataclasses

    import jax
    import jax.numpy as jnp

    from dipjax.core import loop as train
    from dipjax.operators import problem
    from dipjax.recipes import paper

    size, width = arguments.size, (arguments.width,) * 5
    recipe = paper.denoising(3)
    recipe = dataclasses.replace(
        recipe, generator=recipe.generator.clone(down=width, up=width), backtracking=None, precision=arguments.precision
    )
    task = problem.denoising(np.random.default_rng(0).random((size, size, 3), np.float32))
    start = time.perf_counter()
    state = train.init(recipe, jax.random.key(0), task)
    state, _ = jax.block_until_ready(train.run(recipe, state, task, 1))
    compile_seconds = time.perf_counter() - start

    def steps(number):
        nonlocal state
        state, _ = jax.block_until_ready(train.run(recipe, state, task, number))

    side = 4096 if jax.default_backend() == "cpu" else 8192
    matrix = jnp.ones((side, side))
    multiply = jax.jit(lambda matrix: jnp.matmul(matrix, matrix, precision=arguments.precision))
    return steps, lambda: jax.block_until_ready(multiply(matrix)), side, {"compile_seconds": compile_seconds}


def torch_worker(arguments):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.torch_reference.skip import skip
    from benchmarks.torch_reference.train import make_input, training_step

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = arguments.precision is None
    torch.backends.cudnn.benchmark = True
    width = [arguments.width] * 5
    torch.manual_seed(0)
    net = skip(channels_down=width, channels_up=width).to(device)
    z, y = make_input(32, arguments.size).to(device), torch.rand(1, 3, arguments.size, arguments.size, device=device)
    if arguments.worker != "contiguous":
        net, z = net.to(memory_format=torch.channels_last), z.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, capturable=device == "cuda")
    synchronise = torch.cuda.synchronize if device == "cuda" else lambda: None
    with FlopCounterMode(display=False) as counter:
        training_step(net, optimizer, z, torch.nn.Identity(), y)
    start = time.perf_counter()
    model = torch.compile(net) if arguments.worker == "compile" else net

    def step():
        training_step(model, optimizer, z + torch.randn_like(z) / 30, torch.nn.Identity(), y)

    if arguments.worker == "cuda_graph":
        side_stream = torch.cuda.Stream()
        with torch.cuda.stream(side_stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        step = graph.replay
    step()
    synchronise()
    compile_seconds = time.perf_counter() - start

    def steps(number):
        for _ in range(number):
            step()
        synchronise()

    side = 4096 if device == "cpu" else 8192
    matrix = torch.ones(side, side, device=device)

    def multiply():
        torch.matmul(matrix, matrix)
        synchronise()

    return steps, multiply, side, {"compile_seconds": compile_seconds, "gflop": counter.get_total_flops() / 1e9}


def worker(arguments):
    make = dipjax_worker if arguments.worker == "dipjax" else torch_worker
    steps, multiply, side, about = make(arguments)
    multiply()
    number = max(3, int(0.5 / (turns.seconds(lambda: steps(2)) / 2)))  # about half a second

    def measure():
        rate = 2 * side**3 / turns.seconds(multiply) / 1e9
        steps(1)  # while the others had their turn the system may have taken memory back
        return about | {"milliseconds": turns.seconds(lambda: steps(number)) * 1e3 / number, "matrix_gflops": rate}

    turns.serve(measure)


def contestants(arguments):
    import torch

    return CONTESTANTS + (ON_REQUEST if arguments.compile else ()) + (ON_GPU if torch.cuda.is_available() else ())


def markdown(report):
    names = list(next(iter(report["sizes"].values())))
    rivals = [name for name in names if name != "dipjax"]
    titles = ["size", *(f"{name}, ms" for name in names), "best PyTorch / dipjax", "nominal GFLOP", "dipjax, GFLOP/s", "of matrix rate"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for size, rounds in report["sizes"].items():
        times = {name: [one["milliseconds"] for one in found] for name, found in rounds.items()}
        best = min(rivals, key=lambda name: statistics.median(times[name]))  # noqa: B023
        ratios = [rival / own for rival, own in zip(times[best], times["dipjax"], strict=True)]
        gflop = rounds[best][0]["gflop"]
        rate = gflop / statistics.median(times["dipjax"]) * 1e3
        matrix = statistics.median([max(found[i]["matrix_gflops"] for found in rounds.values()) for i in range(len(ratios))])
        cells = [turns.spread(times[name]) for name in names]
        cells += [turns.spread(ratios, 2), f"{gflop:.1f}", f"{rate:.0f}", f"{100 * rate / matrix:.0f} % of {matrix:.0f}"]
        lines.append(f"| {size} x {size} | {' | '.join(cells)} |")
    compiled = [found["dipjax"][0]["compile_seconds"] for found in report["sizes"].values()]
    note = f"dipjax compiled for {turns.spread(compiled, 1)} s, `init` and first step included."
    return "\n".join([*lines, "", note, f"`{report['command']}`; {report['made']}.", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="torch.compile too")
    parser.add_argument("--precision", choices=("highest",), help="float32 on a GPU too; TF32 if not given")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments)
        return
    options = ["--width", str(arguments.width), *(["--precision", arguments.precision] if arguments.precision else [])]
    words = f"--sizes {' '.join(map(str, arguments.sizes))} --width {arguments.width} --rounds {arguments.rounds}"
    names = contestants(arguments)
    report = {"command": f"python -m benchmarks.speed {words}", "made": turns.made(), "sizes": {}}
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # the contestants share the memory of one GPU
    for size in arguments.sizes:
        script = ["-m", "benchmarks.speed", "--size", str(size), *options, "--worker"]
        report["sizes"][size] = turns.alternate({name: ([*script, name], environment) for name in names}, arguments.rounds)
        if arguments.json:
            arguments.json.write_text(json.dumps(report, indent=1))
        print(markdown(report), file=sys.stderr)
    table = markdown(report)
    print(table)
    if arguments.markdown:
        arguments.markdown.write_text(table)


if __name__ == "__main__":
    main()
