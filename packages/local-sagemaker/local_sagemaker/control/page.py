"""The page at `/_local/`: every training job with its timeline.

The server renders the whole page (`page.html` is the template), so it works without scripts. With scripts it
fetches itself and replaces what changed. It loads nothing from other servers.
"""

from __future__ import annotations

import html
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING
from urllib.parse import quote

from local_sagemaker.jobs.lifecycle import SecondaryStatus
from local_sagemaker.jobs.work import work_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local_sagemaker.jobs.job import TrainingJob
    from local_sagemaker.jobs.lifecycle import Transition

S = SecondaryStatus

JOBS_SHOWN = 500

#: Status -> its name in the legend, which is also its CSS class. Other statuses take no time.
_KINDS = {
    S.STARTING: "waiting",
    S.PENDING: "waiting",
    S.RESTARTING: "waiting",
    S.DOWNLOADING: "downloading",
    S.TRAINING: "training",
    S.UPLOADING: "uploading",
    S.INTERRUPTED: "interrupted",
    S.STOPPING: "stopping",
}
_LEGEND = tuple(dict.fromkeys(_KINDS.values()))


def render_page(jobs: Sequence[TrainingJob], *, now: datetime, speed: float | str, count: int) -> str:
    """The whole page. `jobs` are shown in their order; `count` is the number of all jobs."""
    in_progress = sum(not job.is_over for job in jobs)
    shown = f" The newest {len(jobs)} of {count} are shown." if count > len(jobs) else ""
    speed_text = f"{speed:g} simulated seconds per second" if isinstance(speed, float) else f"speed {speed}"
    return _template().substitute(
        now=f"{now:%Y-%m-%d %H:%M:%S}",
        iso=now.isoformat(timespec="seconds"),
        speed=html.escape(speed_text),
        summary=f"{_count(count, 'training job')}, {in_progress} in progress.{shown}" if jobs else "",
        legend="".join(f'<li><span class="swatch {kind}"></span>{kind}</li>' for kind in _LEGEND),
        jobs="\n".join(_job(job, now) for job in jobs)
        or '<li class="none" id="none">No training jobs yet. Create one with any AWS client that has this '
        "server as <code>AWS_ENDPOINT_URL</code>.</li>",
    )


@cache
def _template() -> Template:
    return Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))


def words(seconds: float) -> str:
    """A duration in its two largest units."""
    whole = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        amount, whole = divmod(whole, size)
        if amount or (unit == "s" and not parts):
            parts.append(f"{amount} {unit}")
    return " ".join(parts[:2])


def _job(job: TrainingJob, now: datetime) -> str:
    name = html.escape(job.name)
    kind = "spot" if job.is_spot else "on demand"
    status = str(job.secondary_status)
    state = "over" if job.is_over else "alive"
    reason = f'<p class="reason">{html.escape(job.failure_reason)}</p>' if job.failure_reason else ""
    message = html.escape(job.transitions[-1].message)
    instances = html.escape(" + ".join(f"{count} × {each}" for each, count in job.instances.items()))
    return (
        f'<li class="job {state}" id="job-{html.escape(job.name)}">'
        f'<h2>{name}</h2><p class="status {_mood(job)}">{html.escape(status)}</p>'
        f'<p class="facts">{instances}, {kind}. {message}</p>'
        f"{_bar(job, now)}"
        f'<p class="seconds">{html.escape(_seconds(job, now))}</p>{reason}'
        f'<div class="more"><details><summary>Statuses<span> of {name}</span></summary><ol>'
        f"{''.join(_line(t, now) for t in job.transitions)}</ol></details>{_log_link(job)}</div></li>"
    )


def _log_link(job: TrainingJob) -> str:
    if job.started_at is None or work_seconds(job) is not None:
        return ""  # no container has started, or the job is simulated
    return f'<a href="logs/{quote(job.name)}">Log<span> of {html.escape(job.name)}</span></a>'


def _mood(job: TrainingJob) -> str:
    return {"Completed": "good", "Failed": "bad", "Stopped": "ended"}.get(str(job.status), "going")


def _length(transition: Transition, now: datetime) -> float:
    return max(0.0, ((transition.ended_at or now) - transition.started_at) / timedelta(seconds=1))


def _bar(job: TrainingJob, now: datetime) -> str:
    """Segments with a width in proportion to their time. A screen reader reads them as one image with a
    label.
    """
    visits = [(_KINDS[t.status], _length(t, now)) for t in job.transitions if t.status in _KINDS]
    label = ", ".join(f"{kind} {words(seconds)}" for kind, seconds in visits)
    total = sum(seconds for _, seconds in visits) or 1.0
    segments = "".join(
        f'<span class="{kind}" title="{kind} {words(seconds)}" style="flex-grow:{seconds / total:.4f}">'
        "</span>"
        for kind, seconds in visits
        if seconds
    )
    return f'<div class="bar" role="img" aria-label="Timeline: {label}">{segments}</div>'


def _seconds(job: TrainingJob, now: datetime) -> str:
    waited = sum(
        _length(t, now) for t in job.transitions if _KINDS.get(t.status) in ("waiting", "interrupted")
    )
    training_seconds = job.training_seconds_at(now)
    if training_seconds is None:
        return (
            f"Waited {words(waited)}, never had instances" if job.is_over else f"Waiting for {words(waited)}"
        )
    summary = f"Waited {words(waited)}, had instances for {words(training_seconds)}"
    billed = job.billed_seconds
    if billed is None:
        return summary
    saved = f" ({1 - billed / training_seconds:.0%} saved)" if job.is_spot else ""
    return f"{summary}, billed {words(billed)}{saved}"


def _line(transition: Transition, now: datetime) -> str:
    length = f" for {words(_length(transition, now))}" if transition.status in _KINDS else ""
    message = html.escape(transition.message)
    return f"<li><b>{transition.status}</b> at {transition.started_at:%H:%M:%S}{length}: {message}</li>"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
