"""Live jobs that no task will look at again, against the local SageMaker."""

from __future__ import annotations

from typing import Any

import pytest

from spot_training.domain.errors import ServiceFailed, SweepRefused
from spot_training.domain.record_keys import SHARED_NAME
from spot_training.domain.records import CurrentJob, TrainingRecord
from spot_training.sagemaker.identity import RunIdentity, identity_of
from spot_training.sagemaker.jobs import TrainingJobs
from spot_training.sweep.orphans import NO_SUCH_TASK, Finding, Verdict, survey, sweep
from tests.cloud import Cloud, make_config

from .support import start_job


def _verdicts(findings: list[Finding]) -> dict[str, Verdict]:
    return {finding.name: finding.verdict for finding in findings}


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        ("running", Verdict.IN_USE),
        ("deferred", Verdict.IN_USE),
        ("up_for_retry", Verdict.IN_USE),
        ("up_for_reschedule", Verdict.IN_USE),
        ("queued", Verdict.IN_USE),
        (None, Verdict.IN_USE),
        ("success", Verdict.ORPHAN),
        ("failed", Verdict.ORPHAN),
        ("skipped", Verdict.ORPHAN),
        (NO_SUCH_TASK, Verdict.ORPHAN),
    ],
)
def test_a_job_is_judged_by_its_tasks_state(patient: Cloud, state: str | None, verdict: Verdict) -> None:
    name = start_job(patient)
    found = survey(patient.jobs(), installation="prod", task_state_of=lambda _identity: state)
    assert _verdicts(list(found)) == {name: verdict}


def test_a_job_meant_to_outlive_its_task_is_kept(patient: Cloud) -> None:
    name = start_job(patient, keep=True)
    found = survey(patient.jobs(), installation="prod", task_state_of=lambda _identity: "success")
    assert _verdicts(list(found)) == {name: Verdict.KEPT}


def test_jobs_of_others_are_not_even_reported(patient: Cloud) -> None:
    start_job(patient, installation="another team's")
    start_job(patient, tags=[], run_id="untagged")
    client = patient.client("sagemaker")
    client.create_training_job(**make_config(), TrainingJobName="by-hand", EnableManagedSpotTraining=True)
    found = survey(patient.jobs(), installation="prod", task_state_of=lambda _identity: "failed")
    assert list(found) == []


def test_a_job_whose_tags_were_changed_is_left_alone(patient: Cloud) -> None:
    tags = RunIdentity(dag_id="retrain", run_id="r" * 300, task_id="train", installation="prod").tags(1)
    name = start_job(patient, tags=tags)
    findings = sweep(
        patient.jobs(),
        installation="prod",
        task_state_of=lambda _i: "failed",
        stop=True,
        say=lambda _t: None,
    )
    assert _verdicts(findings) == {name: Verdict.UNCERTAIN}
    assert list(patient.jobs().live()) == [name]


def test_a_dry_run_stops_nothing_and_says_how_to(patient: Cloud) -> None:
    name = start_job(patient)
    said: list[str] = []
    sweep(patient.jobs(), installation="prod", task_state_of=lambda _i: "failed", stop=False, say=said.append)
    assert list(patient.jobs().live()) == [name]
    assert f"aws sagemaker stop-training-job --training-job-name {name}" in "\n".join(said)
    assert said[-1] == "1 live training job(s) of installation 'prod', orphans: 1."


def test_only_orphans_are_stopped(patient: Cloud) -> None:
    states = {"orphan": "failed", "alive": "deferred"}
    names = {run: start_job(patient, run_id=run) for run in states}
    sweep(
        patient.jobs(),
        installation="prod",
        task_state_of=lambda identity: states[identity.run_id],
        stop=True,
        say=lambda _text: None,
    )
    assert list(patient.jobs().live()) == [names["alive"]]


def test_an_orphan_that_cannot_be_stopped_keeps_no_other_alive(patient: Cloud) -> None:
    names = [start_job(patient, run_id=run) for run in ("first", "second")]
    patient.fail("StopTrainingJob", "InternalFailure")
    jobs = TrainingJobs(patient.client("sagemaker", retries={"total_max_attempts": 1}))
    said: list[str] = []
    with pytest.raises(ServiceFailed, match=f"{names[0]} could NOT be stopped and is still billed"):
        sweep(jobs, installation="prod", task_state_of=lambda _i: "failed", stop=True, say=said.append)
    assert list(patient.jobs().live()) == [names[0]]
    assert f"aws sagemaker stop-training-job --training-job-name {names[0]}" in "\n".join(said)


@pytest.mark.parametrize("operation", ["DescribeTrainingJob", "ListTags"])
def test_a_job_that_cannot_be_judged_keeps_no_orphan_alive(patient: Cloud, operation: str) -> None:
    names = [start_job(patient, run_id=run) for run in ("first", "second")]
    patient.fail(operation, "InternalFailure")
    jobs = TrainingJobs(patient.client("sagemaker", retries={"total_max_attempts": 1}))
    said: list[str] = []
    with pytest.raises(ServiceFailed, match=f"{names[0]} could not be judged"):
        sweep(jobs, installation="prod", task_state_of=lambda _i: "failed", stop=True, say=said.append)
    assert list(patient.jobs().live()) == [names[0]]


def test_a_job_of_whose_task_airflow_does_not_answer_is_left_alone(patient: Cloud) -> None:
    names = {run: start_job(patient, run_id=run) for run in ("forbidden", "orphan")}

    def state_of(identity: RunIdentity) -> str:
        if identity.run_id == "forbidden":
            raise OSError("HTTP Error 403: Forbidden")
        return NO_SUCH_TASK

    with pytest.raises(ServiceFailed, match=names["forbidden"]):
        sweep(patient.jobs(), installation="prod", task_state_of=state_of, stop=True, say=lambda _text: None)
    assert list(patient.jobs().live()) == [names["forbidden"]]


def test_an_airflow_without_a_name_of_its_own_stops_nothing(patient: Cloud) -> None:
    """Every Airflow of an account that was given no name would take the others' jobs for its own."""
    name = start_job(patient, installation=SHARED_NAME)
    said: list[str] = []
    with pytest.raises(SweepRefused, match="set it to a name that only this Airflow has"):
        sweep(
            patient.jobs(),
            installation=SHARED_NAME,
            task_state_of=lambda _i: NO_SUCH_TASK,
            stop=True,
            say=said.append,
        )
    assert list(patient.jobs().live()) == [name]
    assert f"aws sagemaker stop-training-job --training-job-name {name}" in "\n".join(said)


@pytest.mark.parametrize(
    ("state", "verdict"),
    [("deferred", Verdict.IN_USE), ("failed", Verdict.UNCERTAIN), (NO_SUCH_TASK, Verdict.UNCERTAIN)],
)
def test_a_job_of_before_each_airflow_had_a_name_is_reported_and_never_stopped(
    patient: Cloud, state: str, verdict: Verdict
) -> None:
    """It may be this Airflow's, from before the upgrade, or that of another one that is not upgraded yet."""
    name = start_job(patient, installation=SHARED_NAME)
    said: list[str] = []
    findings = sweep(
        patient.jobs(),
        installation="airflow-0123456789ab",
        earlier=[SHARED_NAME],
        task_state_of=lambda _i: state,
        stop=True,
        say=said.append,
    )
    assert _verdicts(findings) == {name: verdict}
    assert list(patient.jobs().live()) == [name]
    assert ("stop-training-job" in "\n".join(said)) is (verdict is Verdict.UNCERTAIN)


def test_an_orphan_of_a_name_that_was_this_airflows_alone_is_stopped(patient: Cloud) -> None:
    start_job(patient, installation="old-prod")
    sweep(
        patient.jobs(),
        installation="prod",
        earlier=["old-prod"],
        task_state_of=lambda _i: "failed",
        stop=True,
        say=lambda _text: None,
    )
    assert list(patient.jobs().live()) == []


def _record(**overrides: Any) -> TrainingRecord:
    return TrainingRecord(dag_id="retrain", run_id="run 1", task_id="train", installation="prod", **overrides)


def _current(name: str, number: int) -> CurrentJob:
    return CurrentJob(job_name=name, number=number, reason="the policy said so")


@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        (None, Verdict.IN_USE),
        (_record(generation=1), Verdict.IN_USE),
        (_record(generation=2), Verdict.ORPHAN),
        (_record(generation=1, current_job=_current("another", 2)), Verdict.ORPHAN),
        (_record(generation=1, current_job=_current("another", 1)), Verdict.IN_USE),
        (_record(generation=0, current_job=_current("earlier", 3)), Verdict.IN_USE),
    ],
)
def test_a_job_that_a_living_task_has_left_behind_is_an_orphan(
    patient: Cloud, record: TrainingRecord | None, verdict: Verdict
) -> None:
    name = start_job(patient, generation=1)
    found = survey(
        patient.jobs(),
        installation="prod",
        task_state_of=lambda _i: "deferred",
        record_of=lambda _i: record,
    )
    assert _verdicts(list(found)) == {name: verdict}


def test_the_current_job_of_a_living_task_is_in_use(patient: Cloud) -> None:
    name = start_job(patient)
    found = survey(
        patient.jobs(),
        installation="prod",
        task_state_of=lambda _i: "deferred",
        record_of=lambda _i: _record(current_job=_current(name, 1)),
    )
    assert _verdicts(list(found)) == {name: Verdict.IN_USE}


def test_tags_lead_back_to_the_run_and_only_unchanged() -> None:
    identity = RunIdentity(dag_id="d", run_id="r", task_id="t", map_index=3, generation=2, installation="x")
    tags = {tag["Key"]: tag["Value"] for tag in identity.tags(7)}
    assert identity_of(tags) == identity
    assert identity_of({**tags, "spot-training:run": "another"}) is None
    assert identity_of({}) is None


@pytest.mark.parametrize(
    "run_id",
    [
        "manual~2026",
        "a=7Eb",
        "strange|run",
        "100%",
        "l'été",
        "日本",
        "tab\tin it",
        "=",
        "a b",
        "🙂",
        "x" * 256,
    ],
)
def test_tags_lead_back_to_a_run_whatever_it_is_called(patient: Cloud, run_id: str) -> None:
    """Airflow takes `~` in a run's id, and AWS takes none in a tag."""
    name = start_job(patient, run_id=run_id)
    job = patient.jobs().snapshot(name)
    assert job is not None
    identity = identity_of(patient.jobs().tags(job.arn))
    assert identity is not None
    assert identity.run_id == run_id
    found = survey(patient.jobs(), installation="prod", task_state_of=lambda _i: "failed")
    assert _verdicts(list(found)) == {name: Verdict.ORPHAN}


def test_an_installation_may_have_any_name(patient: Cloud) -> None:
    name = start_job(patient, installation="team B's (prod)")
    found = survey(patient.jobs(), installation="team B's (prod)", task_state_of=lambda _i: "failed")
    assert _verdicts(list(found)) == {name: Verdict.ORPHAN}
