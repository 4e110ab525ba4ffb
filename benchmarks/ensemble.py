"""What does a seed cost? Milliseconds per step and run, for K seeds of one picture and for N pictures, by layout and number of devices.

    python -m benchmarks.ensemble [--size 256] [--width 32] [--runs 1 2 4 8 16] [--devices 1 2] [--layouts map vmap] [--rounds 5]
        [--json FILE] [--markdown FILE]

The generator is the official one with `--width` channels; --doubling nearest makes it that of the fast recipe. JAX fixes the number of
devices when it starts (on a CPU they are made up), so every number is a process of its own; they take turns, one measurement of
each in every round. PyTorch restores one picture after the other with the mirror of the same network; it cannot batch runs with
weights of their own. The cost of K runs relative to K single runs is the ratio to the row of one run in the same round.
Compilation is left out. `--check` counts collectives in the compiled programs instead: there must be none.
"""

import argparse
import json
import re
import statistics
from pathlib import Path

import numpy as np

from benchmarks import turns

LAYOUTS = ("map", "vmap")
_COLLECTIVES = r"all-(?:reduce|gather|to-all)|reduce-scatter|collective-(?:permute|broadcast)"


def make_runs(arguments):
    """Returns {name: (number of runs, recipe, states, problem, layout, problem_axis)} of what one process measures."""
    import jax

    from dipjax.core import layouts as batching
    from dipjax.core import loop as train
    from dipjax.generators import Skip, blocks
    from dipjax.operators import problem
    from dipjax.recipes import fast as recipes

    width, pictures = (arguments.width,) * 5, np.random.default_rng(0).random((max(arguments.runs), arguments.size, arguments.size, 3))
    recipe = recipes.for_generator(Skip(down=width, up=width, upsample=getattr(blocks, arguments.doubling)), num_steps=1000)
    runs = {}
    for name in arguments.layouts:
        inner = {"map": batching.one_by_one, "vmap": jax.vmap}[name]
        layout = batching.OverDevices(inner) if jax.local_device_count() > 1 else inner
        for number in arguments.runs:
            filled = getattr(layout, "num_filled", lambda number: number)(number)  # as `restore` does where devices would be left over
            several = problem.stack([problem.denoising(pictures[min(i, number - 1)]) for i in range(filled)])
            for kind, task, axis in (("seeds", problem.denoising(pictures[0]), None), ("pictures", several, 0)):
                if number > 1 or kind == "seeds":
                    states = train._init_all(recipe, train.seeds(0, filled), task, layout, axis)
                    runs[f"{name}, {number} {kind}"] = number, recipe, states, task, layout, axis
    return runs


def dipjax_worker(arguments):
    import jax

    from dipjax.core import loop as train

    runs = make_runs(arguments)
    if arguments.check:
        for name, (_, recipe, states, task, layout, axis) in runs.items():
            text = train._run_all.lower(recipe, states, task, 1, layout, axis).compile().as_text()
            print(f"{jax.local_device_count()} devices, {name}: {len(re.findall(_COLLECTIVES, text))} collectives", flush=True)
        return
    for _, recipe, states, task, layout, axis in runs.values():
        jax.block_until_ready(train._run_all(recipe, states, task, 1, layout, axis))

    def measure():
        times = {}
        for name, (number, recipe, states, task, layout, axis) in runs.items():
            step = lambda: jax.block_until_ready(train._run_all(recipe, states, task, arguments.steps, layout, axis))  # noqa: B023, E731
            times[name] = turns.seconds(step) * 1e3 / arguments.steps / number
        return times

    turns.serve(measure)


def torch_worker(arguments):
    import torch

    from benchmarks.torch_reference.skip import skip
    from benchmarks.torch_reference.train import make_input, training_step

    device = "cuda" if torch.cuda.is_available() else "cpu"
    width = [arguments.width] * 5
    net = skip(channels_down=width, channels_up=width, upsample_mode=arguments.doubling).to(device, memory_format=torch.channels_last)
    z = make_input(32, arguments.size).to(device).contiguous(memory_format=torch.channels_last)
    y, optimizer = torch.rand(1, 3, arguments.size, arguments.size, device=device), torch.optim.Adam(net.parameters(), lr=0.01)

    def steps():
        for _ in range(arguments.steps):
            training_step(net, optimizer, z + torch.randn_like(z) / 30, torch.nn.Identity(), y)
        if device == "cuda":
            torch.cuda.synchronize()

    steps()
    turns.serve(lambda: {"PyTorch, 1 seeds": turns.seconds(steps) * 1e3 / arguments.steps})


def markdown(report, arguments):
    names, rounds = list(report["times"]), report["times"]
    lines = [f"| layout, runs | {' | '.join(f'{name}, ms | to single runs' for name in names)} |", "|---" * (2 * len(names) + 1) + "|"]
    single = {name: [min(value for key, value in one.items() if ", 1 " in key) for one in rounds[name]] for name in names}
    for key in dict.fromkeys(key for name in names for key in rounds[name][0]):
        cells = []
        for name in names:
            times = [one[key] for one in rounds[name] if key in one]
            ratio = statistics.median(time / alone for time, alone in zip(times, single[name], strict=True)) if times else None
            cells += [turns.spread(times), f"{ratio:.2f}"] if times else ["", ""]
        lines.append(f"| {key.replace(' 1 seeds', ' 1 run')} | {' | '.join(cells)} |")
    note = f"Milliseconds per step and run, median of {arguments.rounds} rounds (smallest to largest)."
    return "\n".join([*lines, "", f"{note} `{report['command']}`; {report['made']}.", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--doubling", choices=("bilinear", "nearest"), default="bilinear")
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=["map"])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="count collectives, measure nothing")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--worker", choices=("dipjax", "PyTorch"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        (dipjax_worker if arguments.worker == "dipjax" else torch_worker)(arguments)
        return
    listed = {"runs": arguments.runs, "layouts": arguments.layouts}
    options = [
        "--size",
        str(arguments.size),
        "--width",
        str(arguments.width),
        "--doubling",
        arguments.doubling,
        "--steps",
        str(arguments.steps),
    ]
    options += [word for name, values in listed.items() for word in (f"--{name}", *map(str, values))]
    options += ["--check"] if arguments.check else []
    script = ["-m", "benchmarks.ensemble", *options, "--worker"]
    commands = {
        f"{n} device{'s' * (n > 1)}": ([*script, "dipjax"], {"JAX_NUM_CPU_DEVICES": str(n), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"})
        for n in arguments.devices
    }
    if arguments.check:
        turns.each(commands)
        return
    commands["PyTorch"] = [*script, "PyTorch"], {}
    shown = " ".join(options).replace(f" --steps {arguments.steps}", "")
    report = {"command": f"python -m benchmarks.ensemble {shown} --devices {' '.join(map(str, arguments.devices))}", "made": turns.made()}
    report["times"] = turns.alternate(commands, arguments.rounds)
    table = markdown(report, arguments)
    print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1))
    if arguments.markdown:
        arguments.markdown.write_text(table)


if __name__ == "__main__":
    main()
