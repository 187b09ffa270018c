"""The life of a job: statuses, messages, times, and which members a description has when."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from local_sagemaker.conformance.check import Answer, Group, answered, expect, expect_that, unknown

if TYPE_CHECKING:
    from local_sagemaker.conformance.evidence import JobEvidence, Run

GROUP = Group("lifecycle")

_SPOT_PAGE = "guide, lifecycle of managed spot training"
_DUMP = "a dump of 2021"
_MESSAGES = {
    "Starting": {
        "Starting the training job",
        "Launching requested ML instances",
        "Launched instance was unhealthy, replacing it!",
        "Preparing the instances for training",
    },
    "Downloading": {"Downloading input data", "Downloading the training image"},
    "Training": {"Training image download completed. Training in progress."},
    "Uploading": {"Uploading generated training model"},
    "Completed": {"Training job completed"},
}
#: While a spot job waits for capacity.
NO_SPOT = "Insufficient capacity error from EC2 while launching instances, retrying!"


def _end(job: JobEvidence) -> list[str]:
    return [job.described["TrainingJobStatus"], job.described["SecondaryStatus"]]


@GROUP.question("Which statuses does a job that completes have?", source=_SPOT_PAGE, needs="complete")
def statuses_of_a_completed_job(run: Run) -> Answer:
    job = run.jobs["complete"]
    return expect(["Starting", "Downloading", "Training", "Uploading", "Completed"], job.statuses)


@GROUP.question(
    "Which messages do the statuses of a job that completes have?",
    source=f"{_DUMP}; sagemaker-python-sdk",
    needs="complete",
)
def messages_of_a_completed_job(run: Run) -> Answer:
    job = run.jobs["complete"]
    seen = {status: job.messages(status) for status in job.statuses}
    other = {
        status: unusual
        for status, messages in seen.items()
        if (unusual := sorted({*messages} - _MESSAGES.get(status, set()) - {NO_SPOT}))
    }
    return expect_that(not other, "only the messages that are known", seen)


@GROUP.question(
    "Does each status end when the next begins, and the last when it begins?", source=_DUMP, needs="complete"
)
def statuses_follow_without_gaps(run: Run) -> Answer:
    transitions = run.jobs["complete"].transitions
    gaps = [
        f"{before['Status']} ended {before['EndTime']}, {after['Status']} began {after['StartTime']}"
        for before, after in itertools.pairwise(transitions)
        if before["EndTime"] != after["StartTime"]
    ]
    last = transitions[-1]
    return expect([[], True], [gaps, last["StartTime"] == last["EndTime"]])


@GROUP.question(
    "Does the current status of a job have no end time?", source="sagemaker-python-sdk", needs="complete"
)
def the_open_status_has_no_end(run: Run) -> Answer:
    seen = [each.described for each in run.jobs["complete"].seen[:-1]]
    if not seen:
        return unknown("the job was over before it was first described")
    ended = [d["SecondaryStatus"] for d in seen if "EndTime" in d["SecondaryStatusTransitions"][-1]]
    return expect([], ended)


@GROUP.question(
    "Does TrainingStartTime appear with the first Downloading, with the same time?",
    source=_DUMP,
    needs="complete",
)
def training_starts_with_downloading(run: Run) -> Answer:
    job = run.jobs["complete"]
    early = [
        each.described["SecondaryStatus"]
        for each in job.seen
        if "TrainingStartTime" in each.described and not _has_been(each.described, "Downloading")
    ]
    same = job.described.get("TrainingStartTime") == job.transition("Downloading").get("StartTime")
    return expect([[], True], [early, same])


def _has_been(described: dict[str, Any], status: str) -> bool:
    return any(each["Status"] == status for each in described["SecondaryStatusTransitions"])


@GROUP.question(
    "Is TrainingEndTime the start of the last status, and absent before?", source=_DUMP, needs="complete"
)
def training_ends_with_the_last_status(run: Run) -> Answer:
    job = run.jobs["complete"]
    early = [s.described["SecondaryStatus"] for s in job.seen[:-1] if "TrainingEndTime" in s.described]
    same = job.described.get("TrainingEndTime") == job.transitions[-1]["StartTime"]
    return expect([[], True], [early, same])


@GROUP.question(
    "How much later than TrainingEndTime is LastModifiedTime?", source="seen in public code", needs="complete"
)
def last_modified_after_the_end(run: Run) -> Answer:
    described = run.jobs["complete"].described
    late = (described["LastModifiedTime"] - described["TrainingEndTime"]).total_seconds()
    return answered(f"{late:.3f} s")


@GROUP.question("Where is the model, and is it there?", source="public dumps", needs="complete")
def the_model_is_where_the_description_says(run: Run) -> Answer:
    job = run.jobs["complete"]
    uri = job.described["ModelArtifacts"]["S3ModelArtifacts"]
    expected = f"{run.s3_uri}/output/{job.name}/output/model.tar.gz"
    return expect([expected, True], [uri, "output/model.tar.gz" in job.output])


@GROUP.question("What are an on-demand job's statuses and messages?", source="none (Pending)", needs="plain")
def statuses_of_an_on_demand_job(run: Run) -> Answer:
    job = run.jobs["plain"]
    return answered({status: job.messages(status) for status in job.statuses})


@GROUP.question("How does a job that fails end?", source="guide; public dumps", needs="failed")
def the_end_of_a_failed_job(run: Run) -> Answer:
    job = run.jobs["failed"]
    return expect(
        [["Failed", "Failed"], True, True],
        [_end(job), bool(job.described.get("FailureReason")), len(job.described["FailureReason"]) <= 1024],
    )


@GROUP.question(
    "Which statuses does a job that fails have, and is its model uploaded?", source="none", needs="failed"
)
def statuses_of_a_failed_job(run: Run) -> Answer:
    job = run.jobs["failed"]
    return answered({"statuses": job.statuses, "messages": job.messages("Failed"), "output": job.output})


@GROUP.question(
    "Which statuses does a job that is stopped while it trains have?",
    source="sagemaker-python-sdk #3062",
    needs="stopped",
)
def statuses_of_a_stopped_job(run: Run) -> Answer:
    job = run.jobs["stopped"]
    expected = ["Starting", "Downloading", "Training", "Stopping", "Uploading", "Stopped"]
    return expect([expected, ["Stopped", "Stopped"]], [job.statuses, _end(job)])


@GROUP.question(
    "Which messages does a job that is stopped have?",
    source="sagemaker-python-sdk #3062; public logs",
    needs="stopped",
)
def messages_of_a_stopped_job(run: Run) -> Answer:
    job = run.jobs["stopped"]
    expected = {"Stopping": ["Stopping the training job"], "Stopped": ["Training job stopped"]}
    return expect(expected, {status: job.messages(status) for status in expected})


@GROUP.question(
    "Is TrainingJobStatus Stopping while a job stops?", source="model; public dumps", needs="stopped"
)
def a_stopping_job_is_not_in_progress(run: Run) -> Answer:
    seen = [
        each.described["TrainingJobStatus"]
        for each in run.jobs["stopped"].seen[:-1]
        if _has_been(each.described, "Stopping")
    ]
    if not seen:
        return unknown("it was Stopped before it was described as Stopping")
    return expect({"Stopping"}, set(seen))


@GROUP.question(
    "Is the model of a stopped job uploaded, and is there no FailureReason?",
    source="guide; model",
    needs="stopped",
)
def a_stopped_job_keeps_its_model(run: Run) -> Answer:
    job = run.jobs["stopped"]
    return expect([True, False], ["output/model.tar.gz" in job.output, "FailureReason" in job.described])


@GROUP.question("How does a job that reaches its max runtime end?", source="model; guide", needs="over-time")
def the_end_of_a_job_over_its_runtime(run: Run) -> Answer:
    job = run.jobs["over-time"]
    return expect([["Stopped", "MaxRuntimeExceeded"], False], [_end(job), "FailureReason" in job.described])


@GROUP.question(
    "Which statuses and messages does a job at its max runtime have?", source="none", needs="over-time"
)
def statuses_of_a_job_over_its_runtime(run: Run) -> Answer:
    job = run.jobs["over-time"]
    return answered(
        {"statuses": job.statuses, "messages": job.messages("Stopping") + job.messages("MaxRuntimeExceeded")}
    )


@GROUP.question(
    "How late is the max runtime enforced?",
    source="sagemaker-python-sdk #4451 and airflow #33982 saw minutes",
    needs="over-time",
)
def max_runtime_is_enforced_late(run: Run) -> Answer:
    job = run.jobs["over-time"]
    limit = job.described["StoppingCondition"]["MaxRuntimeInSeconds"]
    stopping = job.transition("Stopping") or job.transitions[-1]
    ran = (stopping["StartTime"] - job.described["TrainingStartTime"]).total_seconds()
    return expect_that(ran >= limit, f"at least {limit} s", f"stopped after {ran:.0f} s")


# --- jobs that never started ---


@GROUP.question(
    "Which statuses does a job stopped while Starting have?", source="public dumps", needs="never-started"
)
def statuses_of_a_job_stopped_while_starting(run: Run) -> Answer:
    job = run.jobs["never-started"]
    return _if_never_started(job, expect([["Starting", "Stopping", "Stopped"], ["Stopped", "Stopped"]],
                                         [job.statuses, _end(job)]))  # fmt: skip


@GROUP.question(
    "Which messages does it have, and how long does the stop take?", source="none", needs="never-started"
)
def a_stop_while_starting(run: Run) -> Answer:
    job = run.jobs["never-started"]
    seconds = (job.transitions[-1]["StartTime"] - job.transition("Stopping")["StartTime"]).total_seconds()
    messages = {status: job.messages(status) for status in job.statuses}
    return _if_never_started(job, answered({"messages": messages, "seconds": round(seconds)}))


@GROUP.question(
    "Does a job that never started lack TrainingStartTime, FailureReason and BillableTimeInSeconds?",
    source="public dumps; model",
    needs="never-started",
)
def a_job_that_never_started_has_no_start(run: Run) -> Answer:
    job = run.jobs["never-started"]
    members = ("TrainingStartTime", "FailureReason", "BillableTimeInSeconds")
    return _if_never_started(job, expect([], [name for name in members if name in job.described]))


@GROUP.question(
    "Does it have TrainingEndTime, TrainingTimeInSeconds and ModelArtifacts?",
    source="none",
    needs="never-started",
)
def what_a_job_that_never_started_has(run: Run) -> Answer:
    job = run.jobs["never-started"]
    members = ("TrainingEndTime", "TrainingTimeInSeconds", "ModelArtifacts")
    return _if_never_started(job, answered({name: job.described.get(name, "absent") for name in members}))


def _if_never_started(job: JobEvidence, answer: Answer) -> Answer:
    if job.has_started or _has_been(job.described, "Downloading"):
        return unknown("the job had started before it was stopped: run again")
    return answer


@GROUP.question(
    "Does a spot job wait for capacity in Starting, and end as MaxWaitTimeExceeded?",
    source=_SPOT_PAGE,
    needs="no-capacity",
)
def a_job_without_capacity(run: Run) -> Answer:
    job = run.jobs["no-capacity"]
    expected = ["Starting", "Stopping", "MaxWaitTimeExceeded"]
    return expect([expected, ["Stopped", "MaxWaitTimeExceeded"]], [job.statuses, _end(job)])


@GROUP.question(
    "Which messages does a spot job that waits, and then ends, have?",
    source="public dumps of 2026",
    needs="no-capacity",
)
def messages_without_capacity(run: Run) -> Answer:
    job = run.jobs["no-capacity"]
    seen = [NO_SPOT in job.messages("Starting"), job.messages("MaxWaitTimeExceeded")]
    return expect([True, ["Training job wait time exceeded MaxWaitTimeInSeconds provided"]], seen)


@GROUP.question(
    "Does a job that never got capacity lack TrainingStartTime, FailureReason and BillableTimeInSeconds?",
    source="public dumps; model",
    needs="no-capacity",
)
def a_job_without_capacity_has_no_start(run: Run) -> Answer:
    described = run.jobs["no-capacity"].described
    members = ("TrainingStartTime", "FailureReason", "BillableTimeInSeconds")
    return expect([], [name for name in members if name in described])


@GROUP.question(
    "How long do spot jobs wait for instances: the first one, and one that follows it on the same type?",
    source="none (whether capacity that one job gives back serves the next)",
    needs="complete resume",
)
def capacity_that_a_job_gives_back(run: Run) -> Answer:
    def wait(job: JobEvidence) -> str:
        started = job.described.get("TrainingStartTime")
        if started is None:
            return "never started"
        return f"{(started - job.described['CreationTime']).total_seconds():.0f} s"

    jobs = {name: run.jobs[name] for name in ("complete", "resume")}
    messages = {name: job.messages("Starting") for name, job in jobs.items()}
    return answered({name: [wait(job), messages[name]] for name, job in jobs.items()})
