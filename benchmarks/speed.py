"""How fast is it? One table each: a step against PyTorch, what a seed costs, memory, the start, and the time until the picture is good.

    python -m benchmarks.speed step [--sizes 64 128 256 512] [--recipe paper] [--against DIR] [--compile] [--rounds 5]
    python -m benchmarks.speed seeds [--runs 1 2 4 8 16] [--devices 1 2] [--layouts map vmap] [--size 256]
    python -m benchmarks.speed memory [--sizes 64 128 256 512]
    python -m benchmarks.speed start [--size 256]
    python -m benchmarks.speed quality house|butterfly --data DIR [--crop 128] [--seeds 2] --json FILE

Every contestant is a process of its own; they take turns, and begin each with steps that do not count. Reported are medians over the
rounds with the smallest and the largest, and medians of the ratios of each round. Compilation is left out, or said apart.

* step: forward, backward, Adam and the jitter of the input, as in denoising of one picture by `dipjax.iterate`, average and metrics
  included; PyTorch is the mirror in `torch_reference`, eager in both memory formats, with `--compile` also through `torch.compile`,
  and on a GPU as a CUDA graph. `--against` is a checkout of another dipjax, of today's modules or of those of commit 8c3c018. GFLOP are
  nominal: PyTorch's count for the convolutions of the mirror, of which dipjax needs fewer; the matrix rate is that of the product of two
  4096 x 4096 arrays (8192 on a GPU), measured by every process.
* seeds: milliseconds per step and run, for K seeds of one picture and for K pictures, by layout and number of devices (on a CPU they
  are made up); `alone` is `dipjax.train_step` called from Python. PyTorch restores one picture after the other.
* memory, on Linux: "peak" on a CPU is the largest resident set of the process less that after the imports, the compiler's GiB included;
  "steps" what comes on top once all is compiled. On an accelerator peak is what JAX and PyTorch count. "estimate" is what
  `dipjax.memory.needed` says before anything is compiled.
* start: from a new process that runs the command `denoise` with four seeds on a file, a part of scikit-image's astronaut with noise of
  25/255, to its first step; with nothing kept of earlier commands, and with what the first one kept.
* quality: House with noise of sigma 25/255, or the butterfly x4. The official setting in both frameworks, the `fast` one with one seed and
  four, and deepinv's ConvDecoder, whose estimate is its output. PSNR: RGB, range 1, unclipped. Seconds are the steps until it is first
  reached, and held for three recorded steps, times the time of a step. Goals are relative to the best that every run of PyTorch reaches.
"""

import argparse
import ctypes
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import imageio.v3 as imageio
import numpy as np

from benchmarks import common

MIRROR = {"fast": (8, 32, "nearest"), "paper": (32, 128, "bilinear")}  # channels of z and of the network, doubling
PICTURES = {"house": ("denoise", common.HOUSE), "butterfly": ("superres", common.BUTTERFLY)}
QUALITY = {  # contestant: recipe, seeds that are averaged
    "PyTorch, official": ("paper", 1),
    "dipjax, official": ("paper", 1),
    "dipjax, fast, 1 seed": ("fast", 1),
    "dipjax, fast, 4 seeds": ("fast", 4),
    "PyTorch, ConvDecoder of deepinv": ("decoder", 1),
}
_ENDLESS = 10**5  # steps
_MIB = 2**20
_TURN = 0.5  # seconds, about
_MATRIX = 4096  # side, twice as long on a GPU


# What the processes do. A job is a dictionary: the options, and who is to do what.


def picture(size):
    return np.random.default_rng(0).random((size, size, 3), np.float32)


def data_of(job):
    """Returns the problem of a job."""
    from dipjax.operators import problem

    if "picture" not in job:
        return problem.denoising(picture(job["size"]))
    task, file = PICTURES[job["picture"]]
    return common.make_problem(task, common.load(Path(job["data"]) / file, crop=job["crop"]), np.random.default_rng(0))


def setting_of(job):
    """Returns the setting; without backtracking, which the mirror has not."""
    from dipjax import recipes

    task = PICTURES[job["picture"]][0] if "picture" in job else "denoise"
    return recipes.choose(task, job["recipe"])(3).changed(backtracking=None, precision=job.get("precision"))


def results_of(job):
    """Returns an iterator of results, one for every turn, which begins when all is compiled."""
    if importlib.util.find_spec("dipjax.core") is None:
        return _results_of_old(job)
    from dipjax.core import drive, layouts, problem

    setting, data, number = setting_of(job), data_of(job), job.get("runs", 1)
    layout = {"map": layouts.ONE_BY_ONE, "vmap": layouts.TOGETHER}.get(job.get("layout"))
    axis = 0 if job.get("kind") == "pictures" else None
    data = problem.stack([data] * number) if axis == 0 else data
    keys = drive.seeds(job.get("seed", 0), number)
    how = {"num_steps": job.get("steps") or _ENDLESS, "problem_axis": axis, "batching": layout, "chunk_seconds": _TURN}
    return drive.iterate(setting.recipe, keys, data, **how)


def _results_of_old(job):
    """The same in the flat modules of commit 8c3c018."""
    import dataclasses

    from dipjax import paper, problem, recipes, train

    recipe = {"fast": recipes.fast_denoising, "paper": paper.denoising}[job["recipe"]](3, num_steps=_ENDLESS)
    recipe = dataclasses.replace(recipe, backtracking=None, precision=job.get("precision"))
    return train.iterate(recipe, train.seeds(0, 1), problem.denoising(picture(job["size"])), chunk_seconds=_TURN)


def turn(results):
    """Returns milliseconds per step, after steps that do not count."""
    before, after = next(results), next(results)
    return (after.seconds - before.seconds) * 1e3 / (after.num_steps - before.num_steps)


def warm(results):
    """Returns the seconds of compilation, and brings chunks of steps to their length."""
    first = [next(results) for _ in range(4)][0]
    return first.compile_seconds


def multiplier(job):
    """Returns what measures the GFLOP/s of a matrix product in dipjax."""
    import jax
    import jax.numpy as jnp

    side = _MATRIX if jax.default_backend() == "cpu" else 2 * _MATRIX
    matrix, multiply = jnp.ones((side, side)), jax.jit(partial(jnp.matmul, precision=job.get("precision")))
    jax.block_until_ready(multiply(matrix, matrix))
    return lambda: 2 * side**3 / common.seconds(lambda: jax.block_until_ready(multiply(matrix, matrix))) / 1e9


def mirror(job):
    """Returns `(net, z, operator, measurement, truth, device)` of the PyTorch side."""
    import torch

    from benchmarks.torch_reference.convdecoder import conv_decoder
    from benchmarks.torch_reference.downsampler import Downsampler
    from benchmarks.torch_reference.skip import skip
    from benchmarks.torch_reference.train import make_input

    torch.manual_seed(job.get("seed", 0))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = job.get("precision") is None
    torch.backends.cudnn.benchmark = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    operator, truth = torch.nn.Identity(), None
    if "picture" in job:
        data = data_of(job)
        measured, truth, size = data.measurement, np.asarray(data.truth), data.shape[:2]
        if job["picture"] == "butterfly":
            operator = Downsampler(3, 4, "lanczos2", phase=0.5, preserve_size=True).to(device)
    else:
        measured, size = picture(job["size"]), (job["size"],) * 2
    measurement = torch.tensor(np.asarray(measured).transpose(2, 0, 1))[None].to(device)
    if job["recipe"] == "decoder":
        net, z = conv_decoder((3, *size)), torch.randn(1, 256, 4, 4)
    else:
        depth, width, doubling = MIRROR[job["recipe"]]
        net = skip(depth, channels_down=[width] * 5, channels_up=[width] * 5, upsample_mode=doubling)
        z = make_input(depth, size)
    net, z = net.to(device), z.to(device)
    if job.get("contestant") != "contiguous":
        net, z = net.to(memory_format=torch.channels_last), z.contiguous(memory_format=torch.channels_last)
    return net, z, operator, measurement, truth, device


def torch_steps(job):
    """Returns what takes a number of steps of the mirror, and the nominal GFLOP of one."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.torch_reference.train import training_step

    net, z, operator, measurement, _, device = mirror(job)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, capturable=device == "cuda")
    jitter = 0.0 if job["recipe"] == "decoder" else 1 / 30
    with FlopCounterMode(display=False) as counter:
        training_step(net, optimizer, z, operator, measurement)
    model = torch.compile(net) if job.get("contestant") == "compile" else net

    def step():
        training_step(model, optimizer, z + jitter * torch.randn_like(z) if jitter else z, operator, measurement)

    if job.get("contestant") == "cuda_graph":
        side_stream = torch.cuda.Stream()
        with torch.cuda.stream(side_stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        step = graph.replay

    def steps(number):
        for _ in range(number):
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    return steps, counter.get_total_flops() / 1e9


def torch_turn(steps):
    """Returns a function that measures milliseconds per step, after one that does not count."""
    steps(1)
    number = max(3, int(2 * _TURN / common.seconds(partial(steps, 2))))

    def measure():
        steps(1)
        return common.seconds(lambda: steps(number)) * 1e3 / number

    return measure


def step_worker(job):
    """Measures the milliseconds of a step and the rate of the matrix product."""
    if job["contestant"] in {"dipjax", "before"}:
        results, rate = results_of(job), multiplier(job)
        about = {"compile": warm(results)}
        measure = partial(turn, results)
    else:
        import torch

        steps, gflop = torch_steps(job)
        measure, about = torch_turn(steps), {"gflop": gflop}
        device = "cuda" if torch.cuda.is_available() else "cpu"
        matrix = torch.ones([_MATRIX if device == "cpu" else 2 * _MATRIX] * 2, device=device)

        def rate():  # `item` waits for the device
            return 2 * len(matrix) ** 3 / common.seconds(lambda: float((matrix @ matrix)[0, 0])) / 1e9

    return lambda: about | {"rate": rate(), "ms": measure()}


def seeds_worker(job):
    """Measures milliseconds per step and run, of every layout and number of runs in this process."""
    if job["contestant"] == "PyTorch":
        measure = torch_turn(torch_steps(job)[0])
        return lambda: {"PyTorch, 1 seeds": measure()}
    import jax

    import dipjax

    kinds = [(layout, runs, kind) for layout in job["layouts"] for runs in job["runs"] for kind in ("seeds", "pictures")]
    started = {
        f"{layout}, {runs} {kind}": (runs, results_of(job | {"layout": layout, "runs": runs, "kind": kind}))
        for layout, runs, kind in kinds
        if runs > 1 or kind == "seeds"
    }
    for _, results in started.values():
        warm(results)
    recipe, data = setting_of(job).recipe, data_of(job)
    state = dipjax.init(recipe, jax.random.key(0), data)

    def alone(number):
        now = state
        for _ in range(number):
            now, _ = dipjax.train_step(recipe, now, data)
        jax.block_until_ready(now)

    measure = torch_turn(alone)
    return lambda: {name: turn(results) / runs for name, (runs, results) in started.items()} | {"alone, 1 step": measure()}


def memory_worker(job):
    """Measures the bytes of one seed."""
    return partial(_torch_memory if job["contestant"] == "PyTorch" else _dipjax_memory, job)


def _resident(name):
    """Returns the bytes of a line of /proc/self/status: "VmRSS" now, "VmHWM" at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def _watched(steps):
    """Takes steps; returns the largest resident set so far, and how much they add to what is resident before them."""
    highest = _resident("VmHWM")
    ctypes.CDLL(None).malloc_trim(0)  # gives back what is free
    Path("/proc/self/clear_refs").write_text("5")  # starts the record of the largest one anew
    before = _resident("VmRSS")
    steps()
    return max(highest, _resident("VmHWM")), _resident("VmHWM") - before


def _dipjax_memory(job):
    import jax

    import dipjax

    recipe, data, before = setting_of(job).recipe, data_of(job), _resident("VmRSS")
    results = dipjax.iterate(recipe, dipjax.seeds(0, 1), data, num_steps=3)
    next(results)  # compiles
    peak, steps = _watched(lambda: list(results))
    stats = jax.local_devices()[0].memory_stats()
    peak = stats["peak_bytes_in_use"] if stats else peak - before
    return {"peak": peak, "steps": steps, "estimate": dipjax.memory.needed(recipe, data, 1)}


def _torch_memory(job):
    import torch

    from benchmarks.torch_reference.train import train

    before = _resident("VmRSS")
    net, z, operator, measurement, _, device = mirror(job | {"contestant": "contiguous"})
    peak, steps = _watched(lambda: train(net, z, operator, measurement, num_iter=3))
    return {"peak": torch.cuda.max_memory_allocated() if device == "cuda" else peak - before, "steps": steps}


class _Reached(BaseException):
    """Ends a command in its first step."""


def start_worker(job):
    """Runs a command until its first step is taken, and says how long ago it was called."""
    from dipjax.app import cli, startup

    words = ["denoise", job["file"], "--seeds", str(job["seeds"]), "--compilation-cache", "on", "--force"]
    given = cli.parse(words)
    startup.start_jax(job["seeds"])
    from dipjax import shelf
    from dipjax.core import drive

    all_steps = drive.iterate

    def until_first_step(*arguments, **how):
        for result in all_steps(*arguments, **how):
            if result.num_steps:
                raise _Reached
            yield result

    drive.iterate = until_first_step
    try:
        raise RuntimeError(f"the command ended with {given.run(given)} before its first step")
    except _Reached:
        seconds = time.time() - job["begun"]
    finally:
        drive.iterate = all_steps
        shelf.use(None)
    return lambda: {"seconds": seconds}


def quality_worker(job):
    """Measures the curve of one seed of a contestant, or the milliseconds of its step."""
    is_torch = job["contestant"].startswith("PyTorch")
    if job["curve"]:
        return partial(_torch_curve if is_torch else _dipjax_curve, job)
    if is_torch:
        measure, compile_seconds = torch_turn(torch_steps(job)[0]), 0.0
    else:
        results = results_of(job | {"steps": None})
        compile_seconds, measure = warm(results), partial(turn, results)
    return lambda: {"ms": measure(), "compile": compile_seconds}


def _dipjax_curve(job):
    """Returns the steps, and the PSNR of the output and of the estimate; of several seeds both are that of the estimate."""
    import dipjax

    truth, points = np.asarray(data_of(job).truth), []
    for result in results_of(job):
        points += [(result.num_steps, float(dipjax.metrics.psnr(result.image, truth)))] * bool(result.num_steps)
    if job["runs"] > 1:
        steps, values = zip(*points, strict=True)
        return {"steps": steps, "output": values, "average": values}
    output, average = (np.round(curve[0], 3).tolist() for curve in (result.metrics.psnr, result.metrics.psnr_average))
    return {"steps": list(range(1, result.num_steps + 1)), "output": output, "average": average}


def _torch_curve(job):
    from benchmarks.torch_reference.train import train
    from dipjax.metrics import psnr

    net, z, operator, measurement, truth, _ = mirror(job)
    curves = {"steps": [], "output": [], "average": []}

    def record(step, loss, output, average):
        del loss
        curves["steps"].append(step + 1)
        for kind, image in (("output", output), ("average", output if job["recipe"] == "decoder" else average)):
            curves[kind].append(round(float(psnr(image[0].permute(1, 2, 0).cpu().numpy(), truth)), 3))

    jitter = {"decoder": 0.0}.get(job["recipe"], 1 / 30 if job["picture"] == "house" else 0.03)
    train(net, z, operator, measurement, num_iter=job["steps"], reg_noise_std=jitter, callback=record)
    return curves


# What the tables are made of


def run(jobs, num_rounds):
    """Returns what the jobs measured: {name: (job, what to add to the environment)}."""
    script = ["-m", "benchmarks.speed", "--worker"]
    shared = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # the contestants share the memory of one GPU
    return common.alternate({name: ([*script, json.dumps(job)], shared | more) for name, (job, more) in jobs.items()}, num_rounds)


def rivals(arguments):
    """Returns the forms of PyTorch to compare with."""
    if arguments.no_torch or not importlib.util.find_spec("torch"):
        return ()
    import torch

    return "contiguous", "channels_last", *(["compile"] * arguments.compile), *(["cuda_graph"] * torch.cuda.is_available())


def step(arguments):
    settings = {"recipe": arguments.recipe, "precision": arguments.precision, "against": bool(arguments.against)}
    report = common.Report(arguments.json, settings)
    names = ["dipjax", *(["before"] * bool(arguments.against)), *rivals(arguments)]

    def measure(size):
        job = {"table": "step", "size": size, "recipe": arguments.recipe, "precision": arguments.precision}
        jobs = {name: (job | {"contestant": name}, {}) for name in names}
        if arguments.against:
            jobs["before"][0]["dipjax"] = str(arguments.against.resolve())
        return run(jobs, arguments.rounds)

    for size in arguments.sizes:
        report.get(str(size), partial(measure, size))
    rows = []
    for size, rounds in report.rows.items():
        times = {name: [one["ms"] for one in found] for name, found in rounds.items()}
        row = [f"{size} x {size}", *(common.spread(times[name], 1) for name in names)]
        ratios = {name: [other / own for other, own in zip(found, times["dipjax"], strict=True)] for name, found in times.items()}
        if arguments.against:
            row.append(common.spread([1 / ratio for ratio in ratios["before"]], 3))
        if torch_names := [name for name in names if name not in {"dipjax", "before"}]:
            best = min(torch_names, key=lambda name: statistics.median(times[name]))  # noqa: B023
            gflop = rounds[best][0]["gflop"]
            rate = gflop / statistics.median(times["dipjax"]) * 1e3
            matrix = statistics.median([max(found[i]["rate"] for found in rounds.values()) for i in range(len(times["dipjax"]))])
            row += [common.spread(ratios[best], 2), f"{gflop:.1f}", f"{rate:.0f}", f"{100 * rate / matrix:.0f} % of {matrix:.0f}"]
        rows.append([*row, f"{rounds['dipjax'][0]['compile']:.0f}"])
    titles = ["size", *(f"{name}, ms" for name in names), *(["dipjax / before"] * bool(arguments.against))]
    titles += ["best PyTorch / dipjax", "nominal GFLOP", "dipjax, GFLOP/s", "of matrix rate"] if len(rows[0]) > len(titles) + 1 else []
    return [*common.table([*titles, "compiled, s"], rows), "", f"One step of the `{arguments.recipe}` setting."]


def seeds(arguments):
    job = {"table": "seeds", "size": arguments.size, "recipe": arguments.recipe, "runs": arguments.runs, "layouts": arguments.layouts}
    jobs = {f"{n} device{'s' * (n > 1)}": (job | {"contestant": "dipjax"}, {"JAX_NUM_CPU_DEVICES": str(n)}) for n in arguments.devices}
    if rivals(arguments):
        jobs["PyTorch"] = job | {"contestant": "PyTorch"}, {}
    rounds, rows = run(jobs, arguments.rounds), []
    single = {name: [min(ms for key, ms in one.items() if key.endswith(", 1 seeds")) for one in found] for name, found in rounds.items()}
    for key in dict.fromkeys(key for found in rounds.values() for key in found[0]):
        cells = []
        for name, found in rounds.items():
            times = [one[key] for one in found if key in one]
            ratios = [ms / alone for ms, alone in zip(times, single[name], strict=False)]
            cells += [common.spread(times, 1), statistics.median(ratios)] if times else [None, None]
        rows.append([key.replace(" 1 seeds", " 1 run"), *cells])
    titles = ["layout, runs", *(title for name in rounds for title in (f"{name}, ms", "to single runs"))]
    return [*common.table(titles, rows), "", "Milliseconds per step and run."]


def memory(arguments):
    methods = ["dipjax", *(["PyTorch"] if rivals(arguments) else [])]
    report, rows = common.Report(arguments.json, {"table": "memory"}), []
    for recipe in arguments.recipes:
        for size in arguments.sizes:
            for method in methods:
                job = {"table": "memory", "contestant": method, "size": size, "recipe": recipe}
                found = report.get(f"{recipe} {size} {method}", lambda job=job: run({"one": (job, {})}, 1)["one"][0])
                cells = [f"{found[name] / _MIB:.0f}" if name in found else None for name in ("peak", "steps", "estimate")]
                rows.append([recipe, f"{size} x {size}", method, *cells])
    return [*common.table(["recipe", "size", "method", "peak", "steps", "estimate"], rows), "", "MiB of one seed."]


def noisy_astronaut(size):
    """Returns a picture `(size, size, 3)`, uint8, as people have them; at most 384 pixels on a side."""
    from skimage import data

    clean = data.astronaut()[:size, 128 : 128 + size]
    return (clean + np.random.default_rng(0).normal(0, 25, clean.shape)).clip(0, 255).round().astype(np.uint8)


def start(arguments):
    times = {"nothing kept": [], "the same size before": []}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "noise.png")
            imageio.imwrite(file, noisy_astronaut(arguments.size))
            environment = {"XDG_CACHE_HOME": folder}
            for found in times.values():
                job = {"table": "start", "file": str(file), "seeds": 4, "begun": time.time()}
                found.append(run({"one": (job, environment)}, 1)["one"][0]["seconds"])
    return common.table(["start", "seconds"], [[name, common.spread(found, 1)] for name, found in times.items()])


def quality(arguments):
    """Makes the curves of all contestants, and says when each reached what PyTorch reaches."""
    settings = {"picture": arguments.picture, "crop": arguments.crop, "steps": arguments.steps, "decoder": arguments.decoder_steps}
    report = common.Report(arguments.json, settings)
    shared = {"table": "quality", "picture": arguments.picture, "data": str(arguments.data), "crop": arguments.crop}
    names = [name for name in arguments.contestants if arguments.decoder_steps or "ConvDecoder" not in name]
    jobs, curves = {}, {}
    for name in names:
        recipe, runs = QUALITY[name]
        environment = {"JAX_NUM_CPU_DEVICES": str(min(common.num_cores(), runs))}
        job = shared | {"contestant": name, "recipe": recipe, "runs": runs, "curve": False}
        jobs[name] = job, environment
        steps = {"paper": arguments.steps, "decoder": arguments.decoder_steps}.get(recipe) or setting_of(job).steps_for(data_of(job).shape)
        for seed in range(arguments.seeds if "official" in name else 1):
            one = job | {"curve": True, "seed": seed, "steps": steps}
            curve = report.get(f"{name}, seed {seed}", lambda one=one, environment=environment: run({"": (one, environment)}, 1)[""][0])
            curves.setdefault(name, []).append(curve)
    rounds = run(jobs, arguments.rounds)
    if arguments.figure:
        panel = {name: (curve["steps"], smoothed(curve["output"])) for name, curve in single(curves).items()}
        common.draw({arguments.picture: panel}, arguments.figure, x="step", y="PSNR of the output (dB), mean of 50 steps")
    size = f"middle {arguments.crop} x {arguments.crop}" if arguments.crop else "whole"
    return [*goal_table(curves, rounds), "", *curve_table(curves), "", f"{arguments.picture}, {size}; {_QUALITY_NOTE}"]


_QUALITY_NOTE = (
    "seconds of training, in brackets those of compilation on top; the official settings are means over their seeds."
    " Second table: PSNR (dB) of a step's output, mean of the last 50 steps."
)


def smoothed(curve, window=50):
    """Returns the mean over the last `window` steps: a single step is noisy."""
    total = np.cumsum([0.0, *curve])
    return np.array([(total[i] - total[max(0, i - window)]) / min(i, window) for i in range(1, len(total))])


def single(curves):
    """Returns the curves of single runs by their name and seed: the estimates of several are not recorded in every step."""
    one = {name: found for name, found in curves.items() if QUALITY[name][1] == 1}
    return {f"{name}, seed {seed}": curve for name, found in one.items() for seed, curve in enumerate(found)}


def curve_table(curves):
    shown = single(curves)
    lengths = {len(curve["output"]) for curve in shown.values()}
    steps = sorted({step for step in (100, 200, 300, 500, 700, 1000, 1500, 2000, 2500, 3000) if step < max(lengths, default=0)} | lengths)
    smooth = {name: smoothed(curve["output"]) for name, curve in shown.items()}
    rows = [[name, *(float(curve[step - 1]) if step <= len(curve) else None for step in steps)] for name, curve in smooth.items()]
    return common.table(["after steps", *map(str, steps)], rows)


def held(curve):
    """Returns what every recorded step and the two after it do not fall below; the last ones have fewer after them."""
    return [min(curve[i : i + 3]) for i in range(len(curve))]


def first(curve, goal):
    """Returns the first step at which the goal is reached and held, or None."""
    return next((step for step, psnr in zip(curve["steps"], held(curve["average"]), strict=True) if psnr >= goal), None)


def goal_table(curves, rounds):
    # A user who cannot see the truth does not stop at the best step: the goals favour the official setting.
    best = min(max(held(curve["average"])) for curve in next(iter(curves.values())))
    seconds = {name: statistics.median(one["ms"] for one in found) / 1e3 for name, found in rounds.items()}
    rows = []
    for offset in (-2, -1, -0.5, -0.1, 0, 0.5):
        cells = []
        for name, found in curves.items():
            steps = [first(curve, best + offset) for curve in found]
            compiled = rounds[name][0]["compile"]
            took = None if None in steps else f"{statistics.mean(steps) * seconds[name]:.0f} s"
            cells.append("not reached" if took is None else took + (f" (+ {compiled:.0f} s)" if compiled else ""))
        rows.append([f"{best + offset:.2f}{' (best of the first)' if not offset else ''}", *cells])
    rows += [
        ["ms / step", *(common.spread([one["ms"] for one in found]) for found in rounds.values())],
        ["best (dB)", *(statistics.mean(max(curve["average"]) for curve in found) for found in curves.values())],
        ["at the end (dB)", *(statistics.mean(curve["average"][-1] for curve in found) for found in curves.values())],
    ]
    return common.table(["PSNR (dB)", *curves], rows)


TABLES = {"step": step, "seeds": seeds, "memory": memory, "start": start, "quality": quality}
WORKERS = {"step": step_worker, "seeds": seeds_worker, "memory": memory_worker, "start": start_worker, "quality": quality_worker}


def parse(argv):
    shared = common.parser("")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = parser.add_subparsers(dest="table", required=True)
    made = {name: tables.add_parser(name, parents=[shared], add_help=False) for name in TABLES}
    for one in made.values():
        one.add_argument("--rounds", type=int, default=5)
        one.add_argument("--no-torch", action="store_true", help="dipjax alone")
        one.add_argument("--compile", action="store_true", help="torch.compile too")
    for name in ("step", "seeds"):
        made[name].add_argument("--recipe", choices=MIRROR, default={"step": "paper", "seeds": "fast"}[name])
    for name in ("step", "memory"):
        made[name].add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512])
    for name in ("seeds", "start"):
        made[name].add_argument("--size", type=int, default=256)
    made["step"].add_argument("--against", type=Path, metavar="DIR", help="a checkout of another dipjax")
    made["step"].add_argument("--precision", choices=("highest",), help="float32 on a GPU too; TF32 if not given")
    made["seeds"].add_argument("--runs", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    made["seeds"].add_argument("--devices", type=int, nargs="+", default=[1, 2])
    made["seeds"].add_argument("--layouts", nargs="+", choices=("map", "vmap"), default=["map"])
    made["memory"].add_argument("--recipes", nargs="+", choices=MIRROR, default=list(MIRROR))
    made["quality"].add_argument("picture", choices=PICTURES)
    made["quality"].add_argument("--data", type=Path, required=True)
    made["quality"].add_argument("--crop", type=int)
    made["quality"].add_argument("--steps", type=int, default=2000, help="of the official setting")
    made["quality"].add_argument("--decoder-steps", type=int, default=0, help="of the ConvDecoder, 2500 in deepinv; 0 leaves it out")
    made["quality"].add_argument("--seeds", type=int, default=2, help="of the official setting")
    made["quality"].add_argument("--contestants", nargs="+", choices=QUALITY, default=list(QUALITY))
    made["quality"].add_argument("--figure", type=Path)
    return parser.parse_args(argv)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["--worker"]:
        job = json.loads(argv[1])
        sys.path[:0] = [job["dipjax"]] if "dipjax" in job else []  # before the one that is installed
        common.serve(WORKERS[job["table"]](job))
        return
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    arguments = parse(argv)
    lines = TABLES[arguments.table](arguments)
    common.publish([*lines, "", f"`{common.command('speed', argv)}`; {common.made()}."], arguments.markdown)


if __name__ == "__main__":
    main()
