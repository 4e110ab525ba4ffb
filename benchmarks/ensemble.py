"""What does a seed cost? Milliseconds per step and run, for several seeds, layouts and numbers of (fake) CPU devices.

    python benchmarks/ensemble.py [--size 256] [--width 32] [--seeds 1 2 4] [--devices 1 2] [--rounds 5] [--json FILE] [--markdown FILE]

JAX fixes the number of devices when it starts, so every number of devices is a process of its own; the processes take turns, one
measurement of each in every round. Reported are medians over the rounds with the smallest and the largest. Compilation is left out.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np

LAYOUTS = ("map", "vmap")


def worker(arguments):
    """Compiles everything, then answers every line of the input with one round of measurements as a line of JSON."""
    import time

    import jax

    from dipjax import batching, problem, recipes, train
    from dipjax.generators import Skip, blocks

    width = (arguments.width,) * 5
    generator = Skip(down=width, up=width, upsample=blocks.nearest)
    recipe = recipes.for_generator(generator, num_steps=1000)
    task = problem.denoising(np.random.default_rng(0).random((arguments.size, arguments.size, 3), np.float32))
    contestants = {}
    for name in arguments.layouts:
        inner = {"map": batching.one_by_one, "vmap": jax.vmap}[name]
        layout = batching.OverDevices(inner) if jax.local_device_count() > 1 else inner
        for num_seeds in arguments.seeds:
            num_filled = getattr(layout, "num_filled", lambda n: n)(num_seeds)  # as `restore` does where devices would be left over
            states = train._init_all(recipe, train.seeds(0, num_filled), task, layout, None)
            jax.block_until_ready(train._run_all(recipe, states, task, 1, layout, None))
            contestants[f"{name}, {num_seeds}"] = (states, layout, num_seeds)
    print("ready", flush=True)
    for _ in sys.stdin:
        times = {}
        for name, (states, layout, num_seeds) in contestants.items():
            start = time.perf_counter()
            jax.block_until_ready(train._run_all(recipe, states, task, arguments.steps, layout, None))
            times[name] = (time.perf_counter() - start) * 1e3 / arguments.steps / num_seeds
        print(json.dumps(times), flush=True)


def measure(arguments):
    """Returns {devices: {layout and seeds: times of all rounds}}."""
    processes = {}
    for num_devices in arguments.devices:
        environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(num_devices)}
        command = [sys.executable, __file__, "--worker", *sys.argv[1:]]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"ensemble.py: the process with {num_devices} devices failed")
        processes[num_devices] = process
    rounds = {num_devices: [] for num_devices in processes}
    for _ in range(arguments.rounds):
        for num_devices, process in processes.items():
            process.stdin.write("\n")
            process.stdin.flush()
            rounds[num_devices].append(json.loads(process.stdout.readline()))
    for process in processes.values():
        process.stdin.close()
        process.wait()
    return {key: {name: [times[name] for times in values] for name in values[0]} for key, values in rounds.items()}


def markdown(times, arguments):
    names = list(next(iter(times.values())))
    lines = ["| layout, seeds | " + " | ".join(f"{n} device{'s' * (n > 1)}" for n in times) + " |", "|---" * (len(times) + 1) + "|"]
    for name in names:
        cells = [f"{np.median(values[name]):.0f} ({min(values[name]):.0f} to {max(values[name]):.0f})" for values in times.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    import jax

    command = f"`python benchmarks/ensemble.py --size {arguments.size} --width {arguments.width}`"
    machine = f"{len(os.sched_getaffinity(0))} cores of {platform.machine()}"
    note = f"Milliseconds per step and run, median of {arguments.rounds} rounds (smallest to largest)."
    return "\n".join([*lines, "", f"{note} {command}; {machine}, JAX {jax.__version__}, {date.today()}.", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=["map"])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments)
        return
    times = measure(arguments)
    table = markdown(times, arguments)
    print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(times, indent=1))
    if arguments.markdown:
        arguments.markdown.write_text(table)


if __name__ == "__main__":
    main()
