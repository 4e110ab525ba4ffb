"""The page of one restoration: before and after, every seed, how sure it is, what is left over, the curves, and how to do it again."""

import json
import math
from datetime import datetime

import numpy as np

from dipjax.app.html import curves, maps
from dipjax.app.html.markup import command, document
from dipjax.app.html.viewer import viewer
from dipjax.app.progress import duration
from dipjax.app.report import Report, content, made_of, summary
from dipjax.files.markup import element, table
from dipjax.files.web import Shown, shown

KIND = "dipjax page"
_LARGE, _SEEDS = 800_000, 500_000  # bytes of a picture, 512 x 512 of pure noise exactly; of all seeds together
_MOST_SEEDS = 24  # that are shown and drawn


def page(report: Report, failures: list[str]) -> bytes:
    """Returns the page; `failures` are of outputs that could not be written."""
    told = content(report, failures)
    outcome = report.outcome
    name, size = told["input"]["file"], told["output"]
    title = f"{name}, {told['task']}"
    body = [
        element("h1", title),
        element("p", f"{size['width']} x {size['height']} pixels, written as {size['file']}", class_="soft"),
        element("ul", [element("li", line) for line in summary(report)]),
        [element("p", failure, class_="bad") for failure in failures],
        _viewer(report),
        element("h2", "How sure it is, and what is left over"),
        element("div", maps.uncertainty(outcome), maps.residual(outcome), maps.blur(outcome), class_="maps"),
        element("h2", "Curves"),
        _curves(outcome),
        element("h2", "How it was made"),
        element("p", "The command, to repeat it in the same folder:"),
        command(told["command"]),
        table(_facts(told)),
        _more("All options", {key: value for key, value in told["options"].items() if value is not None}),
        _more("The whole recipe", told["recipe"]),
    ]
    return document(f"{title} - dipjax", body, scripts=("page.js",), kind=KIND)


def _viewer(report):
    """Returns before and after, and the pictures that can be put there."""
    outcome = report.outcome
    scaled = outcome.task.span.scaled
    before, after = (shown(scaled(image), most_bytes=_LARGE) for image in (outcome.before, outcome.image))
    size, label = outcome.image.shape[:2], made_of(outcome)
    names = f"input{', enlarged' if report.size != size else ''}", label
    return [
        viewer(before.uri, after.uri, names, size),
        element("p", "Input: ", how_shown(before), ". Result: ", how_shown(after), ".", class_="soft"),
        element("p", "Press a picture to see it on the right.", class_="soft"),
        element("div", list(_gallery(report, label)), class_="gallery"),
    ]


def _gallery(report, label):
    outcome, scores = report.outcome, report.outcome.scores or {}
    scaled, result, num_seeds = outcome.task.span.scaled, outcome.result, len(outcome.alive)
    share = _SEEDS // (min(num_seeds, _MOST_SEEDS) + 1)
    yield _pick(shown(scaled(outcome.image), most_bytes=share, exact=False), label, scores.get("ensemble"), is_result=True)
    for seed in range(min(num_seeds, _MOST_SEEDS)):
        fate = "" if result.counted[seed] else ", left out" if result.alive[seed] else ", diverged"
        score = scores["seeds"][seed] if scores else None
        yield _pick(shown(scaled(outcome.images[seed]), most_bytes=share, exact=False), f"seed {seed}{fate}", score)
    if outcome.task.truth is not None:
        yield _pick(shown(scaled(outcome.task.truth), most_bytes=_LARGE), "reference", None)
    if num_seeds > _MOST_SEEDS:
        yield element("p", f"{num_seeds - _MOST_SEEDS} more seeds are not shown.", class_="soft")


def _pick(picture, name, score, *, is_result=False):
    image = element("img", src=picture.uri, alt=name, width=picture.width, height=picture.height)
    about = {"data_name": name, "data_picture": "after" if is_result else None, "aria_pressed": str(is_result).lower()}
    words = f"PSNR {score['psnr']:.2f} dB, SSIM {score['ssim']:.3f}; " if score else ""
    caption = element("figcaption", element("strong", name), element("br"), words, how_shown(picture))
    return element("figure", element("button", image, type="button", class_="pick", **about), caption)


def how_shown(picture: Shown) -> str:
    """Says how true a picture on the page is."""
    kind = "PNG, 8 bits" if picture.kind == "PNG" else "JPEG, not exact"
    return f"{kind}, reduced to {picture.width} x {picture.height}" if picture.is_reduced else kind


def _curves(outcome):
    metrics, result = outcome.metrics, outcome.result
    number = min(len(metrics.loss), _MOST_SEEDS)
    across = "step, tile after tile" if outcome.grid else "step"
    has_rule = result.stopped is not None and metrics.score is not None
    marks = result.best_steps[:number].tolist() if has_rule and not outcome.grid else []

    def drawn(title, values, **how):
        return curves.chart(title, across, list(values[:number]), marks=marks, **how)

    charts = [drawn("loss: how well the measurement is fitted", metrics.loss, is_log=True)]
    if has_rule and np.isfinite(metrics.score).any():
        held_out = type(outcome.recipe.stopping).__name__ == "HeldOut"
        title = "held-out score: how well unseen entries are predicted" if held_out else "score of the stopping rule"
        charts += [drawn(f"{title}; the lower the better", metrics.score, is_log=bool(metrics.score.min() > 0))]
    if metrics.psnr_average is not None:
        level = outcome.overall["ensemble"]["psnr"]
        title = "PSNR in dB of the averaged outputs; faint: of each output; straight: the result"
        charts += [drawn(title, metrics.psnr_average, faint=list(metrics.psnr[:number]), level=level if math.isfinite(level) else None)]
    words = "Circles and dotted lines mark the moment that was taken." if any(marks) else None
    return [
        element("div", charts, class_="charts"),
        curves.legend([f"seed {seed}" for seed in range(number)]),
        element("p", words, class_="soft") if words else None,
    ]


def _facts(told):
    stopping, versions, device = told["stopping"], told["versions"], told["device"]
    return {
        "task": told["task"],
        "recipe": told["recipe_name"],
        "steps": f"{told['steps']} of {told['steps_wanted']}{' in each tile' if told['tiles'] else ''}, ending: {told['ending']}",
        "stopping rule": "none"
        if stopping is None
        else f"{stopping['rule']}, best after steps {', '.join(map(str, stopping['best_steps'][:_MOST_SEEDS]))}",
        "seeds": f"{told['seeds']}, random start {told['rng']}",
        "black and white": f"{told['range']['low']:.6g} and {told['range']['high']:.6g}",
        "time": f"{duration(told['seconds'])}, and {duration(told['compile_seconds'])} for compilation",
        "made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z"),
        "device": f"{device['count']} x {' '.join(dict.fromkeys((device['kind'], device['platform'])))}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _more(title, content):
    return element("details", element("summary", title), element("pre", json.dumps(content, indent=2)))
