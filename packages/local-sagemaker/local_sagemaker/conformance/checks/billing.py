"""Training seconds and billable seconds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from local_sagemaker.conformance.check import Answer, Group, answered, expect, expect_that, unknown

if TYPE_CHECKING:
    from local_sagemaker.conformance.evidence import JobEvidence, Run

GROUP = Group("billing")


def _wall_seconds(job: JobEvidence) -> float:
    seconds = job.described["TrainingEndTime"] - job.described["TrainingStartTime"]
    return float(seconds.total_seconds())


def _seconds(job: JobEvidence) -> dict[str, Any]:
    return {
        "status": job.status,
        "spot": job.plan.is_spot,
        "wall": round(_wall_seconds(job), 3) if job.has_started else None,
        "training": job.described.get("TrainingTimeInSeconds"),
        "billable": job.described.get("BillableTimeInSeconds"),
    }


@GROUP.question(
    "Are the training seconds those from TrainingStartTime to TrainingEndTime, rounded down?",
    source="a dump of 2021: 37026.138 gave 37026",
    needs="complete",
)
def training_seconds(run: Run) -> Answer:
    job = run.jobs["complete"]
    wall, seen = _wall_seconds(job), job.described["TrainingTimeInSeconds"]
    return expect_that(abs(seen - math.floor(wall)) <= 1, f"{math.floor(wall)}, give or take one", seen)


@GROUP.question(
    "Are a spot job's billable seconds at least 1 and at most its training seconds?",
    source="model; dumps of eight jobs: 19 % to 67 %",
    needs="complete",
)
def a_spot_job_is_billed_for_less(run: Run) -> Answer:
    job = run.jobs["complete"]
    training, billable = (job.described[f"{name}TimeInSeconds"] for name in ("Training", "Billable"))
    return expect_that(1 <= billable <= training, f"1 to {training}", billable)


@GROUP.question(
    "Are an on-demand job's billable seconds its training seconds?",
    source="every dump that was seen",
    needs="plain",
)
def an_on_demand_job_is_billed_in_full(run: Run) -> Answer:
    described = run.jobs["plain"].described
    return expect(described["TrainingTimeInSeconds"], described.get("BillableTimeInSeconds"))


@GROUP.question(
    "Does a job that never started have no billable seconds?",
    source="public dumps; model (at least 1)",
    needs="never-started",
)
def a_job_that_never_started_costs_nothing(run: Run) -> Answer:
    job = run.jobs["never-started"]
    if job.has_started:
        return unknown("the job had started before it was stopped: run again")
    return expect_that("BillableTimeInSeconds" not in job.described, "absent", _seconds(job))


@GROUP.question(
    "Are a spot job's billable seconds there only when it is over?", source="none", needs="complete"
)
def billable_seconds_while_it_runs(run: Run) -> Answer:
    job = run.jobs["complete"]
    first = {
        name: next((s.described["SecondaryStatus"] for s in job.seen if name in s.described), None)
        for name in ("TrainingTimeInSeconds", "BillableTimeInSeconds")
    }
    return answered({f"{name} appears in": status for name, status in first.items()})


@GROUP.question(
    "Do a stopped job's training seconds leave out those in Stopping?", source="none", needs="stopped"
)
def seconds_of_a_stopped_job(run: Run) -> Answer:
    job = run.jobs["stopped"]
    stopping = job.transition("Stopping")
    seconds = (stopping["EndTime"] - stopping["StartTime"]).total_seconds()
    return answered(_seconds(job) | {"in Stopping": round(seconds, 3)})


@GROUP.question("Is a job that fails billed?", source="none", needs="failed")
def seconds_of_a_failed_job(run: Run) -> Answer:
    return answered(_seconds(run.jobs["failed"]))


@GROUP.question(
    "What are the seconds of all jobs, and how are they rounded?", source="none", needs="complete"
)
def seconds_of_all_jobs(run: Run) -> Answer:
    return answered({job.plan.name: _seconds(job) for job in run.created()})
