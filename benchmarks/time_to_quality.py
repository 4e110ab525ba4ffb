"""How soon is the picture good? Wall clock until the averaged output reaches given PSNRs, in PyTorch and in dipjax.

The goals are relative to the best PSNR that every run of the official setting in PyTorch reaches.

    python -m benchmarks.time_to_quality house|butterfly --data DIR --curves FILE [--crop 128] [--rounds 5] [--decoder-steps 300]
        --json FILE --markdown FILE

FILE of `--curves` is the JSON file of `benchmarks.curves` for the same picture and crop: the official setting in both frameworks. The
other contestants run here: the `fast` recipe with one seed and with four (whose mean is the estimate), and the ConvDecoder of deepinv
in PyTorch, whose estimate is its output. PSNR: RGB, whole crop, range 1, unclipped.

Seconds are the steps until the PSNR is first reached (and held for three recorded steps) times the time of a step. That is measured
apart, with all contestants taking turns in processes of their own. Compilation is reported beside it. Finished curves of the JSON file
are kept.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from benchmarks import turns
from dipjax.app import startup

CONTESTANTS = ("PyTorch, official", "dipjax, official", "dipjax, fast, 1 seed", "dipjax, fast, 4 seeds", "PyTorch, ConvDecoder of deepinv")
_OFFICIAL = {"PyTorch, official": "PyTorch", "dipjax, official": "dipjax"}


def make_dipjax(arguments):
    """Returns the recipe, the keys and the problem of a contestant."""
    import dataclasses

    from benchmarks.curves import SETTINGS, make_problem
    from dipjax.core import loop as train
    from dipjax.recipes import fast as recipes

    task, official = SETTINGS[arguments.picture]
    if "official" in arguments.worker:
        recipe, num_seeds = dataclasses.replace(official(3), backtracking=None), 1
    else:
        make = recipes.choose(task, "fast")
        recipe = make(3, **recipes.for_size(make, arguments.crop, arguments.crop))
        num_seeds = 4 if "4 seeds" in arguments.worker else 1
    return recipe, train.seeds(0, num_seeds), make_problem(arguments.data, arguments.picture, arguments.crop)


def dipjax_curve(arguments):
    from dipjax import metrics
    from dipjax.core import loop as train

    recipe, keys, task = make_dipjax(arguments)
    curve = []
    for result in train.iterate(recipe, keys, task):
        if result.num_steps:
            curve.append((result.num_steps, float(metrics.psnr(result.image, task.truth))))
    return curve


def dipjax_steps(arguments):
    import jax

    from dipjax.core import layouts as batching
    from dipjax.core import loop as train

    recipe, keys, task = make_dipjax(arguments)
    layout = batching.default(keys.size * task.shape[0] * task.shape[1])
    start = time.perf_counter()
    states = train._init_all(recipe, keys, task, layout, None)
    jax.block_until_ready(train._run_all(recipe, states, task, 1, layout, None))
    compile_seconds = time.perf_counter() - start
    return lambda number: jax.block_until_ready(train._run_all(recipe, states, task, number, layout, None)), compile_seconds


def make_torch(arguments):
    """Returns the net, its input, the operator and the measurement, in the faster memory format of `benchmarks.speed`."""
    import torch

    from benchmarks.curves import in_pytorch, make_problem
    from benchmarks.torch_reference.convdecoder import conv_decoder
    from benchmarks.torch_reference.skip import skip
    from benchmarks.torch_reference.train import make_input

    torch.manual_seed(0)
    task = make_problem(arguments.data, arguments.picture, arguments.crop)
    operator, measurement, truth = in_pytorch(arguments.picture, task)
    if "official" in arguments.worker:
        net, z = skip(), make_input(32, task.shape[:2])
    else:
        net, z = conv_decoder((3, *task.shape[:2])), torch.randn(1, 256, 4, 4)
    net, z = net.to(memory_format=torch.channels_last), z.contiguous(memory_format=torch.channels_last)
    return net, z, operator, measurement, truth


def torch_curve(arguments):
    import torch

    from benchmarks.torch_reference.train import train

    net, z, operator, measurement, truth = make_torch(arguments)
    curve = []

    def record(step, loss, output, average):
        del loss, average
        curve.append((step + 1, -10 * torch.log10(torch.mean((output - truth) ** 2)).item()))

    train(net, z, operator, measurement, num_iter=arguments.decoder_steps, reg_noise_std=0.0, callback=record)
    return curve


def torch_steps(arguments):
    import torch

    from benchmarks.torch_reference.train import training_step

    net, z, operator, measurement, _ = make_torch(arguments)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)

    def steps(number):
        for _ in range(number):
            jittered = z + torch.randn_like(z) / 30 if "official" in arguments.worker else z
            training_step(net, optimizer, jittered, operator, measurement)

    steps(1)
    return steps, 0.0


def worker(arguments):
    curve, steps = (torch_curve, torch_steps) if arguments.worker.startswith("PyTorch") else (dipjax_curve, dipjax_steps)
    if arguments.curve:
        Path(arguments.curve).write_text(json.dumps(curve(arguments)))
        return
    steps, compile_seconds = steps(arguments)
    number = max(1, int(0.5 / (turns.seconds(lambda: steps(2)) / 2)))

    def measure():
        steps(1)  # while the others had their turn the system may have taken memory back
        return {"seconds": turns.seconds(lambda: steps(number)) / number, "compile_seconds": compile_seconds}

    turns.serve(measure)


def held(curve):
    """Returns what every recorded step and the two after it do not fall below; the last ones have fewer after them."""
    values = [psnr for _, psnr in curve]
    return [min(values[i : i + 3]) for i in range(len(values))]


def first(curve, goal):
    """Returns the first step at which the goal is reached and held, or None."""
    return next((step for (step, _), psnr in zip(curve, held(curve), strict=True) if psnr >= goal), None)


def markdown(report):
    curves, rounds = report["curves"], report["rounds"]
    names = [name for name in CONTESTANTS if name in rounds]
    step = {name: statistics.median(one["seconds"] for one in found) for name, found in rounds.items()}
    compiled = {name: found[0]["compile_seconds"] for name, found in rounds.items()}
    # A user who cannot see the truth does not stop at the best step: the goals favour the official setting.
    best = min(max(held(curve)) for curve in curves["PyTorch, official"])
    lines = [f"| PSNR (dB) | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for offset in (-2, -1, -0.5, -0.1, 0, 0.5):
        cells = []
        for name in names:
            steps = [first(curve, best + offset) for curve in curves[name]]
            if None in steps:
                cells.append("not reached")
            else:
                seconds = statistics.mean(steps) * step[name]
                cells.append(f"{seconds:.0f} s" + (f" (+ {compiled[name]:.0f} s)" if compiled[name] else ""))
        lines.append(f"| {best + offset:.2f}{' (best of official)' if not offset else ''} | {' | '.join(cells)} |")
    for title, values in (
        ("ms / step", {name: turns.spread([one["seconds"] * 1e3 for one in found]) for name, found in rounds.items()}),
        ("steps", {name: curves[name][0][-1][0] for name in names}),
        ("best (dB)", {name: f"{statistics.mean(max(p for _, p in curve) for curve in curves[name]):.2f}" for name in names}),
        ("at the end (dB)", {name: f"{statistics.mean(curve[-1][1] for curve in curves[name]):.2f}" for name in names}),
    ):
        lines.append(f"| {title} | {' | '.join(str(values[name]) for name in names)} |")
    note = "Seconds of training, in brackets those of compilation on top. The official settings are means over their seeds."
    return "\n".join([*lines, "", f"{report['picture']}. {note} `{report['command']}`; {report['made']}.", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", choices=("house", "butterfly"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--curves", type=Path)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--decoder-steps", type=int, default=2500, help="of the ConvDecoder; 0 leaves it out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--curve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments)
        return
    report = json.loads(arguments.json.read_text()) if arguments.json.exists() else {"curves": {}}
    cores, crop = startup.num_cores(), f"--crop {arguments.crop}"
    official = json.loads(arguments.curves.read_text())
    for name, framework in _OFFICIAL.items():
        found = [run["average"] for key, run in official.items() if key.startswith(framework)]
        report["curves"][name] = [list(enumerate(curve, 1)) for curve in found]
    script = ["-m", "benchmarks.time_to_quality", arguments.picture, "--data", str(arguments.data), *crop.split()]
    script += ["--decoder-steps", str(arguments.decoder_steps), "--worker"]
    names = [name for name in CONTESTANTS if arguments.decoder_steps or "ConvDecoder" not in name]
    devices = {name: {"JAX_NUM_CPU_DEVICES": str(cores if "4 seeds" in name else 1)} for name in names}
    for name in names:
        if name not in report["curves"]:
            made = arguments.json.with_suffix(".curve")
            turns.each({name: ([*script, name, "--curve", str(made)], devices[name])})
            report["curves"][name] = [json.loads(made.read_text())]
            made.unlink()
            arguments.json.write_text(json.dumps(report))
    report["rounds"] = turns.alternate({name: ([*script, name], devices[name]) for name in names}, arguments.rounds)
    size = f"{'middle ' if arguments.crop < 256 else ''}{arguments.crop} x {arguments.crop}"
    report |= {"picture": f"{arguments.picture}, {size}", "made": turns.made()}
    options = f"{crop} --decoder-steps {arguments.decoder_steps} --rounds {arguments.rounds}"
    report["command"] = f"python -m benchmarks.time_to_quality {arguments.picture} --data DIR --curves FILE {options}"
    arguments.json.write_text(json.dumps(report))
    table = markdown(report)
    print(table)
    if arguments.markdown:
        arguments.markdown.write_text(table)


if __name__ == "__main__":
    main()
