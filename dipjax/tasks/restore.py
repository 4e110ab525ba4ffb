"""The one flow behind every function and every command: choose the recipe, plan tiles, run, stop, finish."""

import dataclasses
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dipjax import checkpoint, metrics, residuals, stopping, uncertainty
from dipjax.core import drive, layouts
from dipjax.core import problem as problems
from dipjax.core.layouts import Layout
from dipjax.core.recipe import Recipe
from dipjax.core.state import Metrics, Result, State, deviation, psnr
from dipjax.files import card
from dipjax.fitting import inputs, losses, optimizers
from dipjax.generators import WithPsf, registry
from dipjax.large import tiling
from dipjax.recipes import Setting, choose, for_generator
from dipjax.recipes.by_name import WORDS
from dipjax.tasks.door import Task
from dipjax.tasks.options import BATCHING, Diverged, Misused, Options

_TRIMMED = 0.25  # of the seeds are left out at either end, pixel by pixel
_GENEROUS = 4  # times the steps of a setting, which a rule may take before it stops


@dataclass(frozen=True)
class Followed:
    """How the work ended.

    Attributes:
      result: the last one, None if not one step was finished.
      ending: as in `Outcome`.
      exit_code: as in `Outcome`.
    """

    result: Result | None
    ending: str
    exit_code: int = 0


@dataclass(frozen=True, eq=False)
class Outcome:
    """A restoration and how it came about. Pictures are in the units of the input, `(H', W', C)`, or `(K, H', W', C)` for every seed.

    Attributes:
      task: what was to be done.
      options: how.
      setting: the method, and its number of steps.
      setting_name: such as "fast.denoising".
      num_steps: of each run in each tile, had it not ended before.
      layout: of the runs.
      grid: of the tiles, None without any.
      result: of the core: in the range at [0, 1].
      ending: "done", "stopped" by the rule, "budget", "callback", "interrupted" or "failed".
      exit_code: of the command, 0 where all is well.
      is_kept: whether all of the work is in the folder of its checkpoints.

    Examples:
      >>> noisy = np.random.default_rng(0).random((8, 8), np.float32)
      >>> net = dipjax.generators.Plain(1, 2)
      >>> image, outcome = dipjax.inpaint(noisy, noisy > 0.8, generator=net, seeds=2, num_iter=2, return_result=True)
      >>> image.shape, outcome.image.shape, outcome.std.shape, outcome.filled.shape, outcome.ending
      ((8, 8), (8, 8, 1), (8, 8, 1), (8, 8), 'done')
    """

    task: Task
    options: Options
    setting: Setting
    setting_name: str
    num_steps: int
    layout: Layout
    grid: tiling.Grid | None
    result: Result
    ending: str
    exit_code: int
    is_kept: bool = False

    @cached_property
    def image(self) -> np.ndarray:
        """The restored picture: what `Options.aggregate` makes of the seeds that count; the input where nothing was `gained`."""
        if self.gained is False:
            return self.before
        return finished(self.task, self._put_back)

    @cached_property
    def _aggregate(self):
        counted = self.result.images[self.result.counted]
        return AGGREGATES[self.options.aggregate](counted) if len(counted) else self.result.image

    @cached_property
    def _put_back(self):
        return put_back(self.task, self._aggregate[None], self.grid)[0]

    @cached_property
    def images(self) -> np.ndarray:
        """Every seed's picture, also of dead ones, each with what it leaves put back: their mean is nearly `image`."""
        return finished(self.task, put_back(self.task, self.result.images, self.grid))

    @cached_property
    def before(self) -> np.ndarray:
        """The input, at the size of the result."""
        return _outside(self.task, self.task.before)

    @property
    def std(self) -> np.ndarray:
        """The standard deviation over the seeds that count, unbiased; NaN for fewer than two."""
        return deviation(self.images, self.result.counted)

    @cached_property
    def _found(self):
        make = self.result.make_uncertainty
        found = make() if make else uncertainty.calibrated(self.result, self.task.problem)
        return found and found._replace(std=(self.task.finish_std or self.task.finish)(found.std))

    @cached_property
    def uncertainty(self) -> np.ndarray | None:
        """The standard deviation of the error of the mean over seeds, see `dipjax.uncertainty`.

        Of a noisy picture with what is put back, elsewhere of what the networks made, where the error of the result is less. Zero where the
        input was kept, NaN in tiles that were not finished; None without held-out entries or with fewer than two seeds.
        """
        if self._found is None:
            return None
        std = self._found.std
        if self.gained and self.task.noise is not None:  # every pixel was measured: what was put back tells of the error
            added = self.task.finish(self._put_back) - self.task.finish(self._aggregate)
            std = uncertainty.after(std, added, self._found.noise)
        std = std * (self.task.span.high - self.task.span.low)
        pasted = self.task.known is not None and self.task.keeps_known
        return np.asarray(np.where(np.isnan(self.task.known), std, 0) if pasted else std, self.task.dtype)

    @property
    def noise(self) -> float | None:
        """The root mean square of the noise of the input, in its units, outliers included; None as for `uncertainty`."""
        return None if self._found is None else self._found.noise * (self.task.span.high - self.task.span.low)

    @property
    def filled(self) -> np.ndarray | None:
        """Where the picture was filled in, `(H', W')` bool: what was marked, or found; None of tasks that fill in nothing."""
        return None if self.task.known is None else np.isnan(self.task.known).any(axis=-1)

    @cached_property
    def psf(self) -> np.ndarray | None:
        """The point spread function `(k, l)` that was found, the mean over the seeds that count; None where none was looked for."""
        return next(iter(self._unknowns), None)

    @cached_property
    def _unknowns(self):
        counted = self.result.counted
        return tuple(values[counted].mean(axis=0) for values in self.result.unknowns) if self.task.around else ()

    @cached_property
    def gained(self) -> bool | None:
        """Whether what the networks made is closer to the truth than its input, as far as can be told; None where it cannot."""
        if not self.task.is_answer or self._found is None:
            return None
        return self._found.gained

    @cached_property
    def residual(self) -> residuals.Residual:
        """What the networks leave of the measurement, in the units of the input, before any of it is put back."""
        found = residuals.residual(self._aggregate, self.task.problem, *self._unknowns)
        return found._replace(values=found.values * np.float32(self.task.span.high - self.task.span.low))

    @property
    def alive(self) -> np.ndarray:
        """Which seeds are finite, `(K,)`."""
        return self.result.alive

    @property
    def metrics(self) -> Metrics:
        """The curves `(K, T)`; losses and PSNRs refer to the range of the measurement."""
        return self.result.metrics

    @property
    def state(self) -> State:
        """What continues the runs, see `dipjax.iterate`; with tiles that of the last one."""
        return self.result.state

    @property
    def recipe(self) -> Recipe:
        """The method."""
        return self.setting.recipe

    @property
    def num_tiles(self) -> int:
        """How many parts were restored, one after another."""
        return len(self.grid.parts) if self.grid else 1

    @cached_property
    def overall(self) -> dict | None:
        """PSNR in dB and SSIM of the input and of the result, as in `scores`, without what the seeds take."""
        if self.task.truth is None:
            return None
        return {"input": score(self.task, self.before), "ensemble": score(self.task, self.image)}

    @cached_property
    def scores(self) -> dict | None:
        """PSNR in dB and SSIM of the input, each seed and the mean, on the range of the measurement; None without a truth."""
        return self.overall and self.overall | {"seeds": [score(self.task, image) for image in self.images]}

    @property
    def _facts(self):
        facts = {"task": self.task.name, "recipe": self.setting_name, "steps": f"{self.result.num_steps}, ending: {self.ending}"}
        return facts | {"seeds": f"{int(self.result.counted.sum())} of {len(self.alive)} count"}

    def __repr__(self) -> str:
        """Returns what costs nothing to say; of a dozen arrays nobody wants to see the numbers."""
        return f"<Outcome: {'; '.join(f'{name} {fact}' for name, fact in self._facts.items())}>"

    def _repr_html_(self) -> str:
        facts = self._facts
        if self.uncertainty is not None:
            error = np.sqrt(np.nanmean(np.square(self.uncertainty, dtype=np.float64)))
            facts |= {"estimated error": f"{error:.3g}", "noise of the input": f"{self.noise:.3g}"}
        if scores := self.overall:
            facts |= {"PSNR": f"{scores['input']['psnr']:.2f} dB before, {scores['ensemble']['psnr']:.2f} dB after"}
        facts |= {"seconds": f"{self.result.seconds:.1f}, and {self.result.compile_seconds:.1f} for compilation"}
        scaled = self.task.span.scaled
        return card.made({"input": scaled(self.before), "result": scaled(self.image)}, facts)


def _trimmed(images):
    from scipy.stats import trim_mean  # which takes longer to import than all else here

    return trim_mean(images, _TRIMMED, axis=0)


AGGREGATES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda images: images.mean(axis=0),
    "median": lambda images: np.median(images, axis=0),
    "trimmed": _trimmed,
}
"""What is made of the seeds that count `(K, H, W, C)`, by the words of `--aggregate`."""


def put_back(task: Task, estimates: np.ndarray, grid: tiling.Grid | None = None) -> np.ndarray:
    """Returns estimates of the core `(K, H, W, C)` with what they leave of the measurement, where the task puts that back."""
    return estimates if task.noise is None else tiling.put_back(task.problem, estimates, task.noise(), grid=grid)


def whole(task: Task, estimate: np.ndarray) -> np.ndarray:
    """Turns one estimate `(H, W, C)`, with what it leaves of the measurement, into a result `(H', W', C)`."""
    return finished(task, put_back(task, estimate[None])[0])


def finished(task: Task, estimates: np.ndarray) -> np.ndarray:
    """Turns estimates of the core `(..., H, W, C)` into results `(..., H', W', C)` in the units of the input."""
    values = _outside(task, task.finish(estimates))
    return np.where(np.isnan(task.known), values, task.known) if task.known is not None and task.keeps_known else values


def _outside(task, values):
    values = task.span.outside(values)
    return np.asarray(values.clip(0, 1) if task.is_nominal else values, task.dtype)


def score(task: Task, image: np.ndarray) -> dict[str, float]:
    """Returns the PSNR in dB and the SSIM of a picture `(H', W', C)`, on the range of the measurement."""
    image, truth = task.span.scaled(image), task.span.scaled(task.truth)
    return {"psnr": float(psnr(image, truth)), "ssim": metrics.ssim(image, truth)}


Follow = Callable[..., Followed]  # (results, num_steps, *, budget, callback, score, task) -> how it ended


@dataclass(frozen=True, eq=False)
class Plan:
    """All that is decided of one picture before it is restored.

    Attributes:
      task: and what is not named here as in `Outcome`.
      num_steps: at most, of each run in each tile.
      layout: the caller's.
      folder: of its checkpoints.
    """

    task: Task
    options: Options
    setting: Setting
    setting_name: str
    num_steps: int
    layout: Layout | None
    grid: tiling.Grid | None
    folder: checkpoint.Folder | None

    @cached_property
    def alike(self) -> tuple | None:
        """What pictures share that can be restored side by side; None of one that cannot: of tiles, checkpoints, a time limit."""
        if self.grid or self.folder or self.options.budget is not None or self.options.callback:
            return None
        leaves, structure = jax.tree.flatten(self.task.problem)
        shapes = tuple((np.shape(leaf), jax.numpy.result_type(leaf)) for leaf in leaves)
        return self.setting.recipe, self.num_steps, self.options.seeds, self.layout, structure, shapes

    def most(self, wish: int | None) -> int:
        """Returns how many like this one are restored side by side: as many as wished, or as fill the machine, and fit its memory."""
        if self.alike is None:
            return 1
        recipe, problem, seeds = self.setting.recipe, self.task.problem, self.options.seeds
        number = layouts.filling(self.layout, seeds, problem.shape[:-1]) if wish is None else wish
        while number > 1 and not tiling.fits(recipe, problem, number * seeds, batching=self.layout):
            number -= -(-number // 4)
        return max(1, number)


def plan(
    task: Task,
    options: Options,
    *,
    note: Callable[[str], None] = lambda sentence: None,
    warn: Callable[[str], None] = warnings.warn,
    check: Callable[[Setting], None] = lambda setting: None,
) -> Plan:
    """Decides how one picture will be restored.

    Args:
      task: what is to be done.
      options: how.
      note: is told what was decided.
      warn: is told, then and later, what went wrong and does not end the work.
      check: is shown the setting before anything is written, and raises what does not suit it.

    Raises:
      ValueError: an option does not fit the picture.
    """
    setting, name = setting_for(task, options)
    check(setting)
    layout = layout_for(options.batching)
    folder = None
    if options.checkpoint is not None:
        folder = checkpoint.Folder(options.checkpoint, setting.recipe, every=options.checkpoint_every, warn=warn)
    sizes = {"tile": options.tile, "overlap": options.tile_overlap}
    settled = folder.remembered("tiles") if folder else None
    sizes = (options.tile is None and settled) or sizes  # the memory that is free may be another now
    grid, reason = tiling.plan(setting.recipe, task.problem, options.seeds, **sizes, batching=layout)
    if folder and settled is None:
        folder.remember("tiles", {"tile": max(grid.tile), "overlap": grid.overlap} if grid else {"tile": 0, "overlap": None})
    if grid:
        note(f"in {grid}{f', because {reason}' if reason else ''}")
    num_steps = options.num_iter or _most(setting.recipe) * setting.steps_for(grid.tile if grid else task.problem.shape)
    return Plan(task, options, setting, name, num_steps, layout, grid, folder)


def alone(plan: Plan, follow: Follow | None = None) -> Outcome:
    """Restores one picture; `follow` takes the results while they come, see `directly`.

    Raises:
      Diverged: no seed is left.
      KeyboardInterrupt: it was interrupted before the first step was finished.
    """
    (outcome,) = restored([plan], follow)
    if isinstance(outcome, Diverged):
        raise outcome
    return outcome


def restored(plans: list[Plan], follow: Follow | None = None) -> list[Outcome | Diverged]:
    """Restores one picture, or several that are alike as one batch, and returns what became of each.

    Raises:
      KeyboardInterrupt: the work was interrupted before the first step was finished.
    """
    first, number = plans[0], len(plans)
    task, options, grid = first.task, first.options, first.grid
    keys = [drive.seeds(_key(plan.options.rng), plan.options.seeds) for plan in plans]
    how = {"num_steps": first.num_steps, "batching": first.layout}
    if number == 1:
        more = {"budget": options.budget, "folder": first.folder}
        results = tiling.iterate(first.setting.recipe, keys[0], task.problem, grid, **how, **more)
    else:
        batch = problems.stack([plan.task.problem for plan in plans])
        results = map(_in_a_row, drive.iterate(first.setting.recipe, jax.numpy.stack(keys), batch, problem_axis=0, **how))
    quality = None if task.truth is None or number > 1 else partial(_quality, task)
    total = first.num_steps * (len(grid.parts) if grid else 1)
    told = {"budget": options.budget, "callback": options.callback, "score": quality, "task": task}
    followed = (follow or directly)(results, total, **told)
    is_kept = first.folder is not None and first.folder.flush()
    if followed.result is None:
        raise KeyboardInterrupt(followed.exit_code)
    fitted = layouts.chosen(first.layout, number * options.seeds, grid.tile if grid else task.problem.shape[:-1])
    parts = [followed.result] if number == 1 else _parts(followed.result, number)
    return [_outcome(plan, part, fitted, followed, is_kept) for plan, part in zip(plans, parts, strict=True)]


def _outcome(plan, result, layout, followed, is_kept):
    if not result.alive.any():
        return Diverged(f"all {plan.options.seeds} seeds diverged; try another rng, a smaller learning rate, or another recipe")
    ending, exit_code = followed.ending, followed.exit_code
    if plan.grid is None and result.stopped is not None and (result.stopped | ~result.alive).all():
        ending, exit_code = "done", 0  # whatever became of others beside it
    ending = "stopped" if ending == "done" and result.stopped is not None and result.stopped.all() else ending
    how = (plan.task, plan.options, plan.setting, plan.setting_name, plan.num_steps, layout, plan.grid)
    return Outcome(*how, result, ending, exit_code, is_kept)


_EACH = ("images", "alive", "metrics", "stopped", "steps", "best_steps", "left_out")  # of a result: what there is of every run


def _each(change, result):
    """Returns a result with another form of what there is of every run."""
    changed = {name: jax.tree.map(change, getattr(result, name)) for name in _EACH}
    # The state of all runs is fetched once, whoever asks for a part of it.
    return dataclasses.replace(result, **changed, make_state=lambda: jax.tree.map(change, result.state))


def _in_a_row(result):
    """Returns the result of `(N, K)` runs as that of `(N K,)`, for those who show how far it is."""
    return _each(lambda leaf: leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:]), result)


def _parts(result, number):
    """Returns the results of the pictures whose runs lie in a row, each with its share of the seconds, and no steps after its own end."""
    share, parts = len(result.alive) // number, []
    for start in range(0, len(result.alive), share):
        part = _each(lambda leaf, start=start: leaf[start : start + share], result)
        if part.steps is not None:
            num_steps = int(part.steps.max())
            curves = jax.tree.map(lambda curve, end=num_steps: curve[:, :end], part.metrics)
            part = dataclasses.replace(part, metrics=curves, num_steps=num_steps)
        parts.append(dataclasses.replace(part, seconds=part.seconds / number, compile_seconds=part.compile_seconds / number))
    return parts


def _most(recipe):
    """Returns how many times the steps of its setting a run may take: a rate that falls must have fallen where it usually ends."""
    schedule = getattr(recipe.optimizer, "schedule", optimizers.Constant())
    return 1 if recipe.stopping is None or schedule(jax.numpy.ones(())) < 1 else _GENEROUS


def _quality(task, estimate):
    return float(psnr(task.span.scaled(finished(task, estimate)), task.span.scaled(task.truth)))


def directly(results: Iterator[Result], num_steps: int, *, budget=None, callback=None, score=None, task=None) -> Followed:
    """Takes the results in this thread; Ctrl-C ends it with the result so far, and a warning."""
    del score, task
    latest, start = None, time.perf_counter()
    try:
        for result in results:
            latest = result
            if callback and callback(result):
                return Followed(latest, "callback")
            if budget is not None and result.num_steps and time.perf_counter() - start >= budget:
                return Followed(latest, "budget" if result.num_steps < num_steps else "done")
    except KeyboardInterrupt:
        if latest is None or not latest.num_steps:
            raise
        warnings.warn(f"interrupted: the result of {latest.num_steps} of {num_steps} steps is returned", RuntimeWarning, stacklevel=6)
        return Followed(latest, "interrupted", 130)
    return Followed(latest, "done")


def setting_for(task: Task, options: Options) -> tuple[Setting, str]:
    """Returns the setting that the options name, and its name.

    Raises:
      Misused: there is none of that name, or it does not fit the task.
      ValueError: the file of a recipe cannot be read.
    """
    if isinstance(options.recipe, str) and options.recipe.lower().endswith(".json"):
        return _changed(_read(options.recipe, choose(task.setting)(task.problem.shape[-1])), task, options), Path(options.recipe).name
    try:
        setting, name = _named(task, options)
        return _changed(setting, task, options), name
    except ValueError as error:
        raise Misused(str(error)) from error


def _named(task, options):
    channels = task.problem.shape[-1]
    if options.generator is not None:
        if not task.takes_noise:
            raise ValueError(f"generator: found one for {task.name}, expected none: its network sees another picture, not noise.")
        word = options.generator if isinstance(options.generator, str) else type(options.generator).__name__
        made = registry.make(word, channels, options.option) if isinstance(options.generator, str) else options.generator
        return for_generator(made), f"for_generator({word})"
    return _from_recipe(task, options.recipe, channels)


def _changed(setting, task, options):
    if task.around is not None:
        setting = setting.changed(generator=task.around(setting.recipe.generator))
    elif isinstance(setting.recipe.generator, WithPsf):  # a recipe of a blur that was not known, and now is
        setting = setting.changed(generator=setting.recipe.generator.generator)
    setting = setting.changed(stopping=_rule(task, options, setting.recipe.stopping))
    if options.guide == "none" and isinstance(setting.recipe.input, inputs.Guided):
        setting = setting.changed(input=setting.recipe.input.noise)
    loss = task.loss if options.loss is None and _is_ours(options.recipe) else options.loss
    if loss is not None:
        setting = setting.changed(loss=losses.make(loss) if isinstance(loss, str) else _callable("loss", loss))
    if options.schedule is not None:
        schedule = options.schedule
        if isinstance(schedule, str):
            if schedule not in optimizers.SCHEDULES:
                raise ValueError(f"schedule: found {schedule!r}, expected one of {', '.join(optimizers.SCHEDULES)}.")
            schedule = optimizers.SCHEDULES[schedule]
        setting = setting.with_schedule(_callable("schedule", schedule))
    return setting


def _is_ours(recipe):
    """Says whether a recipe is one of ours, by its name, and not what somebody has settled."""
    return recipe is None or (isinstance(recipe, str) and recipe in WORDS)  # what is not may have no hash


def _rule(task, options, own):
    """Returns the stopping rule; `own` is the recipe's, which stays where a recipe was named and no rule."""
    word = options.stop
    sigma = {} if options.sigma is None else {"sigma": options.sigma / (task.span.high - task.span.low)}
    if word == "auto":
        is_named = options.recipe is not None and options.recipe != "fast"
        # A record's own rule may be ours of a run in which it was put back, and now it is not.
        is_chosen = is_named if own is None else own != task.sooner
        word = own if is_chosen else task.stop if task.noise is None else task.sooner or task.stop
    if not isinstance(word, str):
        methods = [getattr(word, name, None) for name in ("init", "update")]
        if word is not None and (isinstance(word, type) or not all(map(callable, methods))):
            raise ValueError(f"stop: found {word!r}, expected a name or a rule from `dipjax.stopping`.")
        rule = word
    elif word == "none":
        rule = None
    elif word in stopping.REGISTRY:
        kind = stopping.REGISTRY[word]
        takes = any(field.name == "sigma" for field in dataclasses.fields(kind))
        rule = kind(**sigma) if takes else kind()
        if sigma and takes:
            return rule
    else:
        raise ValueError(f"stop: found {word!r}, expected one of auto, none, {', '.join(stopping.REGISTRY)}.")
    if sigma:
        raise ValueError(f"sigma: found {options.sigma} with the rule {options.stop!r}, expected one that takes it: discrepancy or sure.")
    return rule


def _from_recipe(task, wish, channels):
    if wish is None or isinstance(wish, str):
        make = choose(task.setting, wish)
        return make(channels), f"{make.__module__.rpartition('.')[2]}.{make.__name__}"
    made = wish(channels) if callable(wish) and not isinstance(wish, (Recipe, Setting)) else wish
    if isinstance(made, Recipe):  # how many steps it wants is not known: those of the task's own setting
        made = dataclasses.replace(choose(task.setting)(channels), recipe=made)
    if not isinstance(made, Setting):
        raise ValueError(f"recipe: found {wish!r}, expected a name, a Recipe, a Setting, or a function (channels) that returns one.")
    return made, getattr(wish, "__name__", type(wish).__name__)


def read_json(path: str) -> Any:
    """Returns what the file of a recipe or of a record holds; a ValueError says why it cannot be read."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"recipe: cannot read {path!r}: {getattr(error, 'strerror', None) or 'it is not JSON'}.") from error


def _read(path, default):
    """Returns the setting of a file: a recipe as `Recipe.to_json` writes it, or a record of `--json`, whose steps count too."""
    content = read_json(path)
    is_record = isinstance(content, dict) and "recipe" in content and "type" not in content
    recipe = Recipe.from_json(json.dumps(content["recipe"] if is_record else content))
    steps = content.get("steps_wanted") if is_record else None
    if not (isinstance(steps, int) and steps > 0):
        return dataclasses.replace(default, recipe=recipe)
    return Setting(recipe, max(1, steps // _most(recipe)))


def layout_for(batching: str | Layout) -> Layout | None:
    """Returns the layout of a word of `--batching`; None is the fastest."""
    words = dict(zip(BATCHING, (None, layouts.TOGETHER, layouts.ONE_BY_ONE), strict=True))
    if isinstance(batching, str) and batching in words:
        return words[batching]
    if batching is None or isinstance(batching, Layout):
        return batching
    raise ValueError(f"batching: found {batching!r}, expected one of {', '.join(BATCHING)}, or a Layout from `dipjax.layouts`.")


def _key(rng: Any) -> Any:
    is_key = isinstance(rng, jax.Array) and rng.shape == () and jax.numpy.issubdtype(rng.dtype, jax.dtypes.prng_key)
    is_whole = isinstance(rng, (int, np.integer)) and not isinstance(rng, bool) and 0 <= rng < 2**32
    if not (is_key or is_whole):
        raise ValueError(f"rng: found {rng!r}, expected a whole number from 0 to {2**32 - 1} or one key from `jax.random.key`.")
    return rng if is_key else int(rng)


def _callable(name, value):
    if not callable(value):
        raise ValueError(f"{name}: found {value!r}, expected a name or a function.")
    return value
