"""What an interruption does to a job.

On AWS it cannot be forced. If one of the run's spot jobs is interrupted by chance, it answers.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

from local_sagemaker.conformance.check import Answer, Group, answered, expect, expect_that, skipped, unknown

if TYPE_CHECKING:
    from local_sagemaker.conformance.evidence import JobEvidence, Run

GROUP = Group("interruption")


def _of_an_interrupted_job(ask: Callable[[JobEvidence], Answer]) -> Callable[[Run], Answer]:
    """Ask about the job that was interrupted, on purpose or by chance."""

    def ask_run(run: Run) -> Answer:
        interrupted = [job for job in run.created() if job.was_interrupted]
        planned = run.jobs.get("interrupted")
        if interrupted:
            return ask(interrupted[0])
        if planned is None:
            return skipped(f"an interruption cannot be forced on {run.target.kind}, and none came by chance")
        return unknown(planned.missing) if planned.missing else expect("Interrupted", planned.statuses)

    ask_run.__name__ = ask.__name__
    return ask_run


@GROUP.question(
    "Which statuses does a job that is interrupted once have?",
    source="guide, lifecycle of managed spot training",
    wants="interrupted",
)
@_of_an_interrupted_job
def statuses_of_an_interrupted_job(job: JobEvidence) -> Answer:
    position = job.statuses.index("Interrupted")
    seen = [job.statuses[position - 1], *job.statuses[position + 1 : position + 4]]
    return expect_that(
        seen
        in (["Training", "Starting", "Downloading", "Training"], ["Training", "Downloading", "Training"]),
        "Training, Interrupted, Starting, Downloading, Training",
        job.statuses,
    )


@GROUP.question(
    "Does TrainingJobStatus stay InProgress?",
    source="guide, lifecycle of managed spot training",
    wants="interrupted",
)
@_of_an_interrupted_job
def an_interrupted_job_is_in_progress(job: JobEvidence) -> Answer:
    seen = {
        s.described["TrainingJobStatus"] for s in job.seen if s.described["SecondaryStatus"] == "Interrupted"
    }
    if not seen:
        return unknown("Interrupted was over before it was described")
    return expect({"InProgress"}, seen)


@GROUP.question(
    "Which StatusMessage does Interrupted have, and how long does it last?",
    source="none",
    wants="interrupted",
)
@_of_an_interrupted_job
def the_message_of_interrupted(job: JobEvidence) -> Answer:
    visit = job.transition("Interrupted")
    seconds = (visit["EndTime"] - visit["StartTime"]).total_seconds()
    return answered({"messages": job.messages("Interrupted"), "seconds": round(seconds)})


@GROUP.question("Does TrainingStartTime change with the second start?", source="none", wants="interrupted")
@_of_an_interrupted_job
def the_start_after_an_interruption(job: JobEvidence) -> Answer:
    starts = [t["StartTime"] for t in job.transitions if t["Status"] == "Downloading"]
    started = job.described["TrainingStartTime"]
    which = [f"start {number} of {len(starts)}" for number, at in enumerate(starts, 1) if at == started]
    return answered(which or f"{started}, which is no start of Downloading: {starts}")


@GROUP.question(
    "Does TrainingTimeInSeconds add up over the stretches, or is it end minus start?",
    source="none",
    wants="interrupted",
)
@_of_an_interrupted_job
def seconds_over_an_interruption(job: JobEvidence) -> Answer:
    described = job.described
    held = sum(
        (before["EndTime"] - before["StartTime"]).total_seconds()
        for before, _ in pairwise(job.transitions)
        if before["Status"] in ("Downloading", "Training", "Uploading")
    )
    whole = (described["TrainingEndTime"] - described["TrainingStartTime"]).total_seconds()
    return answered(
        {
            "TrainingTimeInSeconds": described.get("TrainingTimeInSeconds"),
            "BillableTimeInSeconds": described.get("BillableTimeInSeconds"),
            "Downloading, Training and Uploading": round(held, 3),
            "TrainingEndTime - TrainingStartTime": round(whole, 3),
        }
    )


@GROUP.question(
    "Are checkpoints restored before the second start?", source="guide, checkpoints", wants="interrupted"
)
@_of_an_interrupted_job
def checkpoints_are_restored_after_an_interruption(job: JobEvidence) -> Answer:
    if not job.plan.has_checkpoints:
        return unknown(f"the job {job.plan.name} has no checkpoints")
    report = job.report
    if report is None:
        return unknown("the second start left no report")
    return expect_that(bool(report["restored"]), "files in the checkpoint folder", report["restored"])


@GROUP.question("Does each start have its own log stream?", source="none", wants="interrupted")
@_of_an_interrupted_job
def log_streams_over_an_interruption(job: JobEvidence) -> Answer:
    return answered(sorted(job.log))
