"""The report's charts, as SVG that stands by itself: no script, no font, nothing to fetch."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spot_training.domain.savings import Attempt, PurchaseOption

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from spot_training.domain.records import TrainingRecord

#: So many of the newest trainings fit a chart a person can read; the table has them all.
MOST_BARS = 30
_WAIT, _SPOT, _ON_DEMAND, _CLEAN = "#b8c0cc", "#2f855a", "#c05621", "#cbd5e0"


def timeline_svg(records: Sequence[TrainingRecord]) -> str:
    """Each training's attempts in sequence: hours waited, and hours held, by purchase option."""
    shown = _newest(records)
    figure, axes = _figure(len(shown))
    for row, record in enumerate(shown):
        left = 0.0
        for attempt in record.attempts:
            left = _draw_attempt(axes, row, left, attempt)
    _label(axes, shown, "hours since the first attempt was submitted")
    return _svg(figure, [("waiting", _WAIT), ("spot instances held", _SPOT), ("on-demand held", _ON_DEMAND)])


def cost_svg(records: Sequence[TrainingRecord]) -> str:
    """Each completed training: instance-hours billed, beside those of one clean on-demand run."""
    shown = _newest([r for r in records if r.statement.savings_percent is not None])
    figure, axes = _figure(len(shown))
    for row, record in enumerate(shown):
        statement = record.statement
        axes.barh(row + 0.2, (statement.clean_run_instance_seconds or 0) / 3600, height=0.36, color=_CLEAN)
        axes.barh(row - 0.2, (statement.billable_instance_seconds or 0) / 3600, height=0.36, color=_SPOT)
    _label(axes, shown, "instance-hours at the on-demand price")
    return _svg(figure, [("one clean on-demand run", _CLEAN), ("billed, all attempts", _SPOT)])


def _draw_attempt(axes: Axes, row: int, left: float, attempt: Attempt) -> float:
    colour = _SPOT if attempt.purchase is PurchaseOption.SPOT else _ON_DEMAND
    for seconds, shade in ((attempt.wait_seconds, _WAIT), (attempt.training_seconds or 0, colour)):
        axes.barh(row, seconds / 3600, left=left, height=0.6, color=shade, edgecolor="white", linewidth=0.6)
        left += seconds / 3600
    return left


def _newest(records: Sequence[TrainingRecord]) -> list[TrainingRecord]:
    begun = [record for record in records if record.began_at is not None]
    return sorted(begun, key=lambda r: str(r.began_at))[-MOST_BARS:]


def _figure(rows: int) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.4 + 0.42 * max(rows, 1)), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def _label(axes: Axes, records: Sequence[TrainingRecord], unit: str) -> None:
    axes.set_yticks(range(len(records)), [_escape(_short(r.run_id)) for r in records], fontsize=8)
    axes.set_xlabel(unit, fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", color="#e2e8f0", linewidth=0.6)
    axes.set_axisbelow(True)


def _short(run_id: str) -> str:
    return run_id if len(run_id) <= 40 else f"{run_id[:39]}…"


def _escape(text: str) -> str:
    """Dollar signs start a formula in matplotlib and control characters have no shape; a run id is a name."""
    printable = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return printable.replace("$", r"\$")


def _svg(figure: Figure, legend: Sequence[tuple[str, str]]) -> str:
    import matplotlib as mpl
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(color=colour, label=label) for label, colour in legend]
    figure.legend(handles=handles, loc="outside upper left", ncols=3, fontsize=8, frameon=False)
    buffer = io.StringIO()
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "spot-training", "font.family": "sans-serif"}
    ):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"^.*?(?=<svg )", "", buffer.getvalue(), flags=re.DOTALL)
