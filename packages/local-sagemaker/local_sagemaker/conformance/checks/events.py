"""The events that EventBridge sends about the jobs of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local_sagemaker.conformance.check import Answer, Group, answered, expect, expect_that, unknown

if TYPE_CHECKING:
    from local_sagemaker.conformance.evidence import Run

GROUP = Group("events")
_GUIDE = "guide, EventBridge"


def _of(run: Run, job: str) -> list[dict[str, Any]]:
    name = run.jobs[job].name
    found = [each for each in run.events if each["detail"].get("TrainingJobName") == name]
    return sorted(found, key=lambda each: len(each["detail"].get("SecondaryStatusTransitions") or ()))


def _if_any(run: Run, answer: Answer) -> Answer:
    return unknown(run.no_events) if run.no_events else answer


@GROUP.question("Which source, type and resource does an event have?", source=_GUIDE, needs="complete")
def envelope(run: Run) -> Answer:
    job = run.jobs["complete"]
    seen = {(e["source"], e["detail-type"], *e["resources"]) for e in _of(run, "complete")}
    name = "SageMaker Training Job State Change"
    return _if_any(run, expect({("aws.sagemaker", name, job.described["TrainingJobArn"])}, seen))


@GROUP.question("Is there an event for each secondary status?", source=_GUIDE, needs="complete")
def each_status_has_an_event(run: Run) -> Answer:
    seen = list(dict.fromkeys(each["detail"]["SecondaryStatus"] for each in _of(run, "complete")))
    job = run.jobs["complete"]
    return _if_any(run, expect_that(set(job.statuses) <= set(seen), f"{job.statuses} among them", seen))


@GROUP.question(
    "Are times epoch milliseconds, and tags a map?",
    source="seen in consumers' tests; the sample shows texts",
    needs="complete",
)
def times_are_milliseconds(run: Run) -> Answer:
    details = [each["detail"] for each in _of(run, "complete")]
    if not details:
        return unknown(run.no_events or "no event came")
    last = details[-1]
    expected = round(run.jobs["complete"].described["CreationTime"].timestamp() * 1000)
    is_so = isinstance(last["CreationTime"], int) and abs(last["CreationTime"] - expected) < 1000
    return expect_that(
        is_so and last["Tags"] == {"conformance-run": run.id},
        f"{expected} and a map",
        [last["CreationTime"], last["Tags"]],
    )


@GROUP.question(
    "Which members does an event have, and how many events come?", source="none", needs="complete"
)
def members_of_an_event(run: Run) -> Answer:
    found = _of(run, "complete")
    if not found:
        return unknown(run.no_events or "no event came")
    statuses = [each["detail"]["SecondaryStatus"] for each in found]
    return answered({"statuses": statuses, "members": sorted(found[-1]["detail"])})
