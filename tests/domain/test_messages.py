"""A job's transitions as a log shows them: with AWS's time only if it differs from the line's own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from spot_training.domain.lifecycle import JobSnapshot
from spot_training.domain.messages import TransitionTracker
from tests.records import T0, make_job

#: Later than its transitions, in the same minute.
SOON = timedelta(seconds=59)


def _job(*visits: tuple[str, int]) -> JobSnapshot:
    return make_job(*visits, name="job")


def _lines(job: JobSnapshot, later: timedelta) -> list[str]:
    return TransitionTracker().lines(job, job.transitions[-1].started_at + later)


def test_a_transition_that_just_happened_has_the_time_of_its_log_line_only() -> None:
    (line,) = _lines(_job(("Starting", 10)), SOON)
    assert line.startswith("job Starting")
    assert " at " not in line


def test_a_transition_that_is_noticed_late_says_when_it_was() -> None:
    job = _job(("Starting", 10))
    (line,) = _lines(job, timedelta(minutes=1, seconds=1))
    assert line.startswith(f"job Starting at {job.transitions[0].started_at:%H:%M} UTC")


@pytest.mark.parametrize("off", [timedelta(days=400), -timedelta(days=400)])
def test_the_day_is_shown_once_where_it_is_another_one(off: timedelta) -> None:
    job = _job(("Starting", 600), ("Downloading", 60), ("Training", 0))
    first, *others = _lines(job, off)
    began_at = job.transitions[0].started_at
    assert first.startswith(f"job Starting at {began_at:%Y-%m-%d %H:%M} UTC")
    for line, visit in zip(others, job.transitions[1:], strict=True):
        assert line.startswith(f"job {visit.status} at {visit.started_at:%H:%M} UTC")


def test_each_launch_says_how_long_the_job_had_waited_by_then() -> None:
    """Also when they are shown again after the end."""
    job = _job(
        ("Starting", 600),
        ("Downloading", 60),
        ("Training", 300),
        ("Interrupted", 60),
        ("Starting", 1200),
        ("Downloading", 60),
        ("Training", 0),
    )
    lines = _lines(job, timedelta(days=1))
    assert "[waited 10 min so far]" in lines[1]
    assert "[waited 31 min so far]" in lines[5]


def test_the_day_is_shown_again_after_midnight() -> None:
    job = _job(("Starting", 86400), ("Training", 0))
    first, second = TransitionTracker().lines(job, T0 + timedelta(days=400))
    assert [line.count(" UTC") for line in (first, second)] == [1, 1]
    assert f"at {job.transitions[1].started_at:%Y-%m-%d %H:%M} UTC" in second
