"""Peak memory of one seed by the size of the picture: the fast and the official setting, with and without remat, and PyTorch.

    python -m benchmarks.memory [--sizes 64 128 256 512] [--recipes fast paper] [--steps 3] [--json FILE] [--markdown FILE]

Every number comes from a process of its own. On a CPU "peak" is the largest resident set of the process minus what it had after the
imports; that counts the compiler too, about 1 GiB whatever the size. "steps" is what comes on top once all is compiled, and on a CPU
the number to compare (Linux only: the record of the largest resident set is reset before). On an accelerator it is JAX's
`peak_bytes_in_use`, and PyTorch's `max_memory_allocated`. "program" is what the compiled loop declares (`memory_analysis()`:
arguments, results and temporaries), "estimate" what `dipjax.memory.needed` says before anything is compiled.
"""

import argparse
import contextlib
import ctypes
import dataclasses
import importlib.util
import json
import platform
import resource
import shlex
import subprocess
import sys
from datetime import date
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np

MIB = 2**20
WIDTHS = {"fast": 32, "paper": 128}
METHODS = ("dipjax", "dipjax remat", "PyTorch")


def resident():
    """The largest resident set so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget():
    """Gives back what is free, starts the record of the largest resident set anew, and returns what is resident."""
    with contextlib.suppress(AttributeError, OSError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return status("VmRSS")


def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def since(start):
    """What was resident at most since `forget`, more than then."""
    return {} if start is None else {"steps": status("VmHWM") - start}


def measure_dipjax(size, setting, num_steps, *, remat):
    import jax

    from dipjax.core import layouts as batching
    from dipjax.core import loop as train
    from dipjax.large import memory
    from dipjax.operators import problem
    from dipjax.recipes import fast as recipes
    from dipjax.recipes import paper

    make = {"fast": recipes.fast_denoising, "paper": paper.denoising}[setting]
    recipe = make(3, num_steps=num_steps)
    recipe = dataclasses.replace(recipe, generator=dataclasses.replace(recipe.generator, remat=remat))
    task = problem.denoising(picture(size))
    device, before, layout = jax.local_devices()[0], resident(), batching.one_by_one
    keys = train.seeds(0, 1)
    states = jax.eval_shape(layout(partial(train.init, recipe), (0, None)), keys, task)
    # The loop below finds this program compiled.
    program = train._run_all.lower(recipe, states, task, 0, layout, None).compile().memory_analysis()
    found = {
        "estimate": memory.needed(recipe, task, 1, layout),
        "program": program.temp_size_in_bytes + program.argument_size_in_bytes + program.output_size_in_bytes,
    }
    jax.block_until_ready(train._init_all(recipe, keys, task, layout, None))  # compiles it
    compiler = resident()
    start = forget()
    train.restore(recipe, keys, task, batching=layout)
    found |= since(start)
    stats = device.memory_stats() if device.platform != "cpu" else None
    found |= {
        "peak": stats["peak_bytes_in_use"] if stats else max(compiler, resident()) - before,
    }
    return found | {"device": device.device_kind}


def measure_pytorch(size, setting, num_steps):
    import torch

    from benchmarks.torch_reference.skip import skip
    from benchmarks.torch_reference.train import make_input, train

    device = "cuda" if torch.cuda.is_available() else "cpu"
    before, width = resident(), [WIDTHS[setting]] * 5
    depth = {"fast": 8, "paper": 32}[setting]
    mode = {"fast": "nearest", "paper": "bilinear"}[setting]
    net = skip(depth, 3, channels_down=width, channels_up=width, upsample_mode=mode).to(device)
    z = make_input(depth, size).to(device)
    measurement = torch.from_numpy(picture(size).transpose(2, 0, 1).copy())[None].to(device)
    resident_before = forget()
    train(net, z, lambda image: image, measurement, num_iter=num_steps)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else resident() - before
    return since(resident_before) | {
        "peak": peak,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }


def picture(size):
    return np.random.default_rng(0).random((size, size, 3), np.float32)


def measure(method, size, setting, num_steps):
    if method == "PyTorch":
        return measure_pytorch(size, setting, num_steps)
    return measure_dipjax(size, setting, num_steps, remat=method == "dipjax remat")


def measure_alone(method, size, setting, num_steps):
    """Measures in a new process; what went wrong is a row, too."""
    one = json.dumps([method, size, setting, num_steps])
    command = [sys.executable, "-m", "benchmarks.memory", "--one", one]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    row = {"method": method, "size": size, "recipe": setting}
    if done.returncode:
        return row | {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    return row | json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--recipes", nargs="+", choices=WIDTHS, default=list(WIDTHS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    methods = [method for method in arguments.methods if method != "PyTorch" or importlib.util.find_spec("torch")]
    rows = []
    for setting in arguments.recipes:
        for size in arguments.sizes:
            for method in methods:
                rows.append(measure_alone(method, size, setting, arguments.steps))
                print(rows[-1], file=sys.stderr, flush=True)
    about = describe(rows)
    text = table(about, rows)
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps({"about": about, "rows": rows}, indent=2) + "\n")


def describe(rows):
    names = [name for name in ("jax", "jaxlib", "flax", "torch") if importlib.util.find_spec(name)]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "command": shlex.join(["python", "-m", "benchmarks.memory", *sys.argv[1:]]),
        "device": next((row["device"] for row in rows if "device" in row), "none"),
        "machine": platform.processor() or platform.machine(),
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in names},
        "date": str(date.today()),
        "commit": commit,
    }


def table(about, rows):
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    device = f"{about['device']} ({about['machine']})"
    lines = [
        f"`{about['command']}`, {device}, {versions}, {about['date']}, commit {about['commit']}. MiB per seed.",
        "",
        "| recipe | size | method | peak | steps | program | estimate |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [f"{row[name] / MIB:.0f}" if name in row else "" for name in ("peak", "steps", "program", "estimate")]
        failed = f", failed: {row['error']}" if "error" in row else ""
        lines.append(f"| {row['recipe']} | {row['size']} x {row['size']} | {row['method']}{failed} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
