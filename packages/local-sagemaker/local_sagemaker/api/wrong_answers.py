"""Turns the correct answer of a call into a requested wrong one, see `faults.WRONG_ANSWERS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local_sagemaker.jobs import rules
from local_sagemaker.jobs.errors import ValidationError

from .faults import Fault, Faults

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A status that no client knows, as a later SageMaker may have.
UNKNOWN_STATUS = "Reviewing"


def bend(
    faults: Faults, operation: str, params: Mapping[str, Any], response: dict[str, Any]
) -> dict[str, Any]:
    """Apply the faults to a response. Raises the `ValidationError` of a job that does not exist."""
    match operation:
        case "DescribeTrainingJob":
            return _bend_description(
                faults.take_wrong_answer(operation, response["TrainingJobName"]), response
            )
        case "ListTags":
            job_name = params["ResourceArn"].rpartition("/")[2]
            return {"Tags": []} if faults.take_wrong_answer(operation, job_name) else response
        case "ListTrainingJobs":
            listed = [
                (faults.take_wrong_answer(operation, summary["TrainingJobName"]), summary)
                for summary in response["TrainingJobSummaries"]
            ]
            shown = [_bend_status(fault, summary) for fault, summary in listed if fault is not Fault.LEFT_OUT]
            return {**response, "TrainingJobSummaries": shown}
        case _:
            return response


def _bend_description(fault: Fault | None, description: dict[str, Any]) -> dict[str, Any]:
    if fault is Fault.NOT_FOUND:
        raise ValidationError(rules.NOT_FOUND)
    return _bend_status(fault, description)


def _bend_status(fault: Fault | None, answer: dict[str, Any]) -> dict[str, Any]:
    if fault is not Fault.UNKNOWN_STATUS:
        return answer
    unknown = {"TrainingJobStatus": UNKNOWN_STATUS, "SecondaryStatus": UNKNOWN_STATUS}
    return {**answer, **{key: value for key, value in unknown.items() if key in answer}}
