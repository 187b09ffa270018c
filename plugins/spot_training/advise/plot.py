"""A plot of cost against deadline. Only this part of the advisor needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spot_training.domain.errors import InvalidInput
from spot_training.domain.packages import needed_by

if TYPE_CHECKING:
    from .advice import Advice, Question

PICTURES = ("svg", "png", "pdf")
COLOURS = {"on_demand": "#c05621", "widen": "#b7791f", "deadline": "#2b6cb0"}


def draw(advice: Advice, question: Question, file: Any) -> None:
    """Draw cost against deadline for each policy, with the runs that missed it.

    `file`: a `Path` or an `ObjectStoragePath`. Its suffix sets the format. Raises `InvalidInput` for a suffix
    other than those of `PICTURES`.
    """
    with needed_by("the plot of cost against deadline"):
        from matplotlib.figure import Figure

    kind = file.suffix.removeprefix(".").lower()
    if kind not in PICTURES:
        raise InvalidInput("plot", str(file), f"end it in {' or '.join(f'.{kind}' for kind in PICTURES)}.")
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    for width, (name, colour) in zip((1.5, 5, 3), COLOURS.items(), strict=True):
        # Thin over thick, so that policies with the same cost stay visible.
        points = [outcome for outcome in advice.curve if outcome.policy == name]
        hours = [outcome.deadline_seconds / 3600 for outcome in points]
        axes.plot(hours, [o.mean_dollars for o in points], lw=width, color=colour, label=name)
        for outcome in points:
            if outcome.missed:
                at = (outcome.deadline_seconds / 3600, outcome.mean_dollars)
                axes.annotate(f"{outcome.missed} missed", at, color=colour, fontsize=8)
    axes.axvline(question.deadline_seconds / 3600, color="#a0aec0", linestyle=":", label="your deadline")
    axes.set(xlabel="deadline, hours after submission", ylabel="mean cost per instance, US dollars")
    axes.set_ylim(bottom=0)
    missed = sum(outcome.missed for outcome in advice.curve)
    axes.set_title(f"Cost against deadline; missed deadlines: {missed}", fontsize=10)
    axes.legend(fontsize=8)
    with file.open("wb") as stream:
        figure.savefig(stream, format=kind)
