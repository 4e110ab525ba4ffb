"""The figure of a restoration: the pictures above, the curves below."""

import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dipjax.app.report import Report, made_of, rms

_PANEL = 3.3  # inches, the width of one picture
_MOST_SHOWN = 1000  # pixels on a side, more than the figure has room for


def figure(report: Report) -> bytes:
    """Returns the figure as a file of the kind that the suffix of `--plot` names."""
    height, width, _ = report.outcome.image.shape
    picture_height = _PANEL * min(max(height / width, 0.4), 2.0)
    sheet = Figure(figsize=(4 * _PANEL + 0.8, picture_height + 3.6), dpi=150, layout="constrained")
    sheet.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    above, below = sheet.subfigures(2, 1, height_ratios=(picture_height + 0.5, 3.1))
    _draw_pictures(above, report)
    _draw_curves(below, report)
    file = io.BytesIO()
    sheet.savefig(file, format=Path(report.given.plot).suffix[1:].lower())
    return file.getvalue()


def _draw_pictures(sheet, report):
    axes, outcome = sheet.subplots(1, 4), report.outcome
    num_alive, scores = int(outcome.result.counted.sum()), outcome.scores or {}
    one = scores["seeds"][report.single] if scores else None
    enlarged = ", enlarged" if outcome.task.problem.measurement.shape[:2] < outcome.task.before.shape[:2] else ""
    shown = [
        (outcome.before, f"input{enlarged}", scores.get("input")),
        (outcome.images[report.single], "one seed", one),
        (outcome.image, made_of(outcome), scores.get("ensemble")),
    ]
    for axis, (image, title, score) in zip(axes, shown, strict=False):
        _draw_picture(axis, outcome.task.span.scaled(image).clip(0, 1), title, score)
    std = outcome.uncertainty if outcome.uncertainty is not None else outcome.std if num_alive > 1 else None
    if std is not None:
        shown = _shrunk(std).mean(axis=-1)
        highest = np.nanmax(shown, initial=1e-12)
        spread = axes[3].imshow(shown, cmap="magma", vmin=0, vmax=highest)
        what = "over seeds" if outcome.uncertainty is None else f"of the error, {rms(std):.3g} in all"
        axes[3].set_title(f"standard deviation {what}\n(mean over channels)", fontsize=10)
        sheet.colorbar(spread, ax=axes[3], shrink=0.8)
    else:
        axes[3].set_title("no standard deviation:\nonly one seed", fontsize=10)
    for axis in axes:
        axis.set_axis_off()


def _draw_picture(axis, image, title, scores):
    image = _shrunk(image)
    image = image if image.shape[-1] == 3 else image.mean(axis=-1)
    below = f"PSNR {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.3f}" if scores else ""
    axis.imshow(image, cmap="gray", vmin=0, vmax=1)
    axis.set_title(f"{title}\n{below}", fontsize=10)


def _shrunk(image):
    stride = -(-max(image.shape[:2]) // _MOST_SHOWN)
    return image[::stride, ::stride]


def _draw_curves(sheet, report):
    curves, result = report.outcome.metrics, report.outcome.result
    loss, psnr, psnr_average = curves.loss, curves.psnr, curves.psnr_average
    steps = np.arange(1, loss.shape[1] + 1)
    has_psnr = psnr is not None
    axes = np.atleast_1d(sheet.subplots(1, 1 + has_psnr))
    marker = "." if len(steps) == 1 else ""  # one step is no line
    for seed in range(len(loss)):
        style = {"color": f"C{seed % 10}", "marker": marker}
        axes[0].semilogy(steps, loss[seed], **style, linewidth=0.8, label=f"seed {seed}")
        if result.stopped is not None and not report.outcome.grid:
            axes[0].semilogy(steps, curves.score[seed], color=style["color"], linestyle=":", linewidth=1)
            for axis in axes[: 1 + has_psnr]:
                if result.best_steps[seed]:
                    axis.axvline(result.best_steps[seed], color=style["color"], linestyle="--", linewidth=0.8)
        if has_psnr:
            axes[1].plot(steps, psnr[seed], **style, linewidth=0.5, alpha=0.35)
            axes[1].plot(steps, psnr_average[seed], **style, linewidth=1.4, label=f"seed {seed}")
    axes[0].set_ylabel("loss")
    rule = "" if result.stopped is None else "; dotted: the stopping rule's score; dashed: the moment that was taken"
    axes[0].set_title(f"data fit{rule}", fontsize=10)
    if has_psnr:
        axes[1].axhline(report.outcome.overall["ensemble"]["psnr"], color="black", linestyle="--", linewidth=1, label="mean of seeds")
        axes[1].set_ylabel("PSNR (dB)")
        axes[1].set_title("running average of the outputs; faint: the outputs themselves", fontsize=10)
    for axis in axes:
        axis.set_xlabel("step, tile after tile" if report.outcome.grid else "step")
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        if len(loss) <= 10:
            axis.legend(fontsize=8, frameon=False)
