"""What the campaign must find of scouts and hand-overs, on made-up jobs and records."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from spot_training.domain.lifecycle import Ending
from spot_training.domain.records import TrainingRecord
from spot_training.domain.stop_reasons import StopReason
from spot_training.sagemaker.identity import TAG_SCOUT, TAG_STOPPED_FOR
from tests.records import T0, make_attempt, make_record

from .scouts import judge_prefixes, judge_scouts
from .support import Case, Job, Run
from .verdict import reason_of

PREFIX = "s3://chaos/checkpoints/one"


class _MadeUpLab:
    """What SageMaker and the ledger say, without either."""

    def __init__(self, *jobs: Job, records: tuple[TrainingRecord, ...] = ()) -> None:
        self.jobs, self.records = jobs, records

    def jobs_of(self, _run: Run) -> list[Job]:
        return [job for job in self.jobs if not job.is_scout]

    def scouts_of(self, _run: Run) -> list[Job]:
        return [job for job in self.jobs if job.is_scout]

    def records_of(self, _run: Run) -> list[TrainingRecord]:
        return list(self.records)


def _job(name: str, *, begins: float = 0, ends: float | None = 10, **facts: Any) -> Job:
    def at(minutes: float) -> datetime:
        return T0 + timedelta(minutes=minutes)

    job = Job(
        name=name,
        region="us-east-1",
        tags={},
        status="InProgress" if ends is None else "Stopped",
        visited=("Starting",),
        created_at=at(begins),
        ended_at=None if ends is None else at(ends),
        billed_seconds=0,
        ending=None if ends is None else Ending.STOPPED_BY_USER,
        instance_type="ml.m5.large",
        is_spot=True,
        checkpoints=PREFIX,
    )
    return replace(job, **facts)


def _scout(name: str, *, why: str | None = "scout-done", **facts: Any) -> Job:
    tags = {TAG_SCOUT: "1"} | ({} if why is None else {TAG_STOPPED_FOR: why})
    return _job(name, tags=tags, **{"checkpoints": None, **facts})


def _recorded(*scouts: Job, ending: Ending = Ending.SCOUT_DONE, billed: int = 0) -> TrainingRecord:
    attempts = [make_attempt(job_name=s.name, ending=ending, billable_seconds=billed) for s in scouts]
    return make_record(scouts=tuple(attempts))


def _problems(*jobs: Job, records: tuple[TrainingRecord, ...] = (), by_person: tuple[str, ...] = ()) -> str:
    run = Run(case=Case(), run_id="one", instance_type="ml.m5.large", conf={})
    lab: Any = _MadeUpLab(*jobs, records=records)
    judge_scouts(lab, run, by_person=by_person)
    judge_prefixes(lab, [run])
    return "; ".join(run.problems)


def test_a_move_is_no_problem() -> None:
    moved = _job("job-1", tags={TAG_STOPPED_FOR: "move"})
    scout, again = _scout("scout-1", billed_seconds=60), _scout("scout-2", begins=20, ends=30)
    records = (_recorded(scout, billed=60), make_record(attempts=(_moved("job-1"),)))
    assert _problems(moved, scout, again, _job("job-2", begins=10), records=records) == ""


def _moved(name: str, ending: Ending = Ending.MOVED) -> Any:
    return make_attempt(job_name=name, ending=ending)


def test_two_jobs_on_one_prefix_are_found() -> None:
    assert _problems(_job("job-1"), _job("job-2", begins=9)) == f"two writers on {PREFIX}: job-1, job-2"


def test_a_scout_that_is_not_called_back_is_found() -> None:
    over = {"ending": Ending.MAX_RUNTIME, "status": "Stopped", "why": None}
    job = _job("job-2", begins=10, ends=90)
    assert "scout-1 was not called back before job-2 was created" in _problems(
        _scout("scout-1", ends=60, **over), job
    )
    assert _problems(_scout("scout-1", ends=15, **over), job) == ""
    assert _problems(_scout("scout-1", ends=60), job) == ""


def test_two_scouts_for_one_type_are_found() -> None:
    found = _problems(_scout("scout-1", ends=None), _scout("scout-2", begins=5))
    assert "two scouts for ml.m5.large at the same time: scout-1, scout-2" in found
    assert _problems(_scout("scout-1"), _scout("scout-2", instance_type="ml.c5.large")) == ""


def test_a_bill_that_the_savings_do_not_have_is_found() -> None:
    scout = _scout("scout-1", billed_seconds=60)
    found = _problems(scout, records=(_recorded(scout, billed=0),))
    assert found == "scouts billed in the savings: 0 s; by SageMaker: 60 s"


def test_a_scout_that_goes_out_again_against_a_persons_will_is_found() -> None:
    stopped, later = _scout("scout-1", why=None), _scout("scout-2", begins=20, ends=30)
    found = _problems(stopped, later, by_person=("scout-1",))
    assert found == "a person stopped scout-1, and then came ['scout-2']"


def test_a_stop_that_is_recorded_as_a_persons_is_found() -> None:
    scout = _scout("scout-1")
    found = _problems(scout, records=(_recorded(scout, ending=Ending.STOPPED_BY_USER),))
    assert found == "no person stopped scout-1 (scout-done), but the ledger says so"
    moved = _job("job-1", tags={TAG_STOPPED_FOR: "move"})
    record = make_record(attempts=(_moved("job-1", Ending.STOPPED_WITH_TASK),))
    assert "job-1 was stopped for move; the ledger says" in _problems(moved, records=(record,))


def test_a_scout_with_checkpoints_is_found() -> None:
    assert "a scout with checkpoints: scout-1" in _problems(_scout("scout-1", checkpoints=PREFIX))


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (Ending.MOVED, StopReason.MOVE),
        (Ending.LEFT_FOR_SPOT, StopReason.BACK_TO_SPOT),
        (Ending.STOPPED_FOR_DEADLINE, StopReason.DEADLINE),
        (Ending.STOPPED_AT_TIME_LIMIT, StopReason.TIME_LIMIT),
        (Ending.UPLOADS_STALLED, StopReason.UPLOADS_STALLED),
        (Ending.STOPPED_WITH_TASK, StopReason.TASK_KILLED),
        (Ending.STOPPED_BY_USER, None),
        (Ending.COMPLETED, None),
    ],
)
def test_a_reason_that_no_tag_has_is_read_from_the_ledger(ending: Ending, reason: StopReason | None) -> None:
    job = _job("model-1")
    run = Run(case=Case(), run_id="one", instance_type="ml.m5.large", conf={})
    attempt = make_attempt(job_name=job.name, ending=ending)
    lab: Any = _MadeUpLab(job, records=(make_record(attempts=(attempt,)),))
    assert reason_of(lab, run, job) == reason
    assert reason_of(lab, run, replace(job, tags={TAG_STOPPED_FOR: "swept"})) == StopReason.SWEPT
