"""The words for a job's life, and why it is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_training.domain.lifecycle import (
    NEXT_STATUSES,
    TERMINAL_SECONDARY_STATUSES,
    Ending,
    JobSnapshot,
    SecondaryStatus,
    TrainingStatus,
    ending_of,
    is_legal_move,
)

T0 = datetime(2026, 3, 2, 6, tzinfo=UTC)


def _job(**overrides: Any) -> JobSnapshot:
    defaults: dict[str, Any] = {
        "name": "job",
        "arn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/job",
        "status": TrainingStatus.IN_PROGRESS,
        "secondary_status": SecondaryStatus.TRAINING,
        "created_at": T0,
        "last_modified_at": T0,
        "is_spot": True,
    }
    return JobSnapshot(**{**defaults, **overrides})


@pytest.mark.parametrize("status", [TrainingStatus.IN_PROGRESS, TrainingStatus.STOPPING])
def test_a_job_that_is_stopping_is_not_over(status: TrainingStatus) -> None:
    assert ending_of(_job(status=status)) is None


@pytest.mark.parametrize(
    ("secondary", "started", "ending"),
    [
        (SecondaryStatus.MAX_WAIT_TIME_EXCEEDED, None, Ending.NO_CAPACITY),
        (SecondaryStatus.MAX_WAIT_TIME_EXCEEDED, T0, Ending.OUT_OF_WAIT),
        (SecondaryStatus.MAX_RUNTIME_EXCEEDED, T0, Ending.MAX_RUNTIME),
        (SecondaryStatus.STOPPED, T0, Ending.STOPPED_BY_USER),
        (SecondaryStatus.STOPPED, None, Ending.STOPPED_BY_USER),
    ],
)
def test_the_four_kinds_of_stopped_are_told_apart(
    secondary: SecondaryStatus, started: datetime | None, ending: Ending
) -> None:
    job = _job(status=TrainingStatus.STOPPED, secondary_status=secondary, training_started_at=started)
    assert ending_of(job) is ending


@pytest.mark.parametrize(
    ("reason", "ending"),
    [
        ("CapacityError: Unable to provision requested ML compute capacity.", Ending.CAPACITY_ERROR),
        ("InternalServerError: We encountered an internal error. Please try again.", Ending.INTERNAL_ERROR),
        ("ClientError: Please use an instance type with more memory", Ending.CLIENT_ERROR),
        ("AlgorithmError: ExecuteUserScriptError:\nExitCode 1", Ending.ALGORITHM_ERROR),
        ("something nobody has seen", Ending.ALGORITHM_ERROR),
        (None, Ending.ALGORITHM_ERROR),
    ],
)
def test_a_failure_is_told_by_the_first_words_of_its_reason(reason: str | None, ending: Ending) -> None:
    job = _job(status=TrainingStatus.FAILED, secondary_status=SecondaryStatus.FAILED, failure_reason=reason)
    assert ending_of(job) is ending


def test_nothing_follows_a_terminal_status() -> None:
    assert all(not NEXT_STATUSES[ended] for ended in TERMINAL_SECONDARY_STATUSES)


def test_every_status_in_use_leads_to_an_end() -> None:
    for start in NEXT_STATUSES:
        reachable, frontier = {start}, [start]
        while frontier:
            fresh = NEXT_STATUSES[frontier.pop()] - reachable
            reachable |= fresh
            frontier.extend(fresh)
        assert reachable & TERMINAL_SECONDARY_STATUSES, start


@pytest.mark.parametrize(
    "path",
    [
        "Starting Downloading Training Uploading Completed",
        "Starting Downloading Training Interrupted Starting Downloading Training Uploading Completed",
        "Starting Downloading Training Interrupted Downloading Training Stopping MaxWaitTimeExceeded",
        "Starting Stopping MaxWaitTimeExceeded",
        "Starting Pending Downloading Training Stopping Uploading Stopped",
        "Downloading Stopping Stopped",
    ],
)
def test_the_sequences_aws_documents_are_legal(path: str) -> None:
    statuses = [SecondaryStatus(word) for word in path.split()]
    assert all(is_legal_move(a, b) for a, b in pairwise(statuses))


@given(st.sampled_from(SecondaryStatus), st.sampled_from(TrainingStatus), st.booleans())
def test_every_combination_of_statuses_has_an_ending_or_none(
    secondary: SecondaryStatus, status: TrainingStatus, started: bool
) -> None:
    job = _job(
        status=status,
        secondary_status=secondary,
        training_started_at=T0 + timedelta(minutes=5) if started else None,
    )
    is_over = status not in {TrainingStatus.IN_PROGRESS, TrainingStatus.STOPPING}
    assert (ending_of(job) is not None) is is_over
