"""A training job as people name it: its name, its ARN, or what an operator that started it returned."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spot_training.domain.errors import EmptyValue, InvalidInput
from spot_training.domain.json_text import from_json_text
from spot_training.domain.parsing import is_left_out

from .identity import is_job_name

if TYPE_CHECKING:
    from .jobs import TrainingJobs

_ARN = re.compile(
    r"arn:aws[a-z-]*:sagemaker:(?P<region>[a-z0-9-]+):\d{12}:training-job/(?P<name>[a-zA-Z0-9-]+)"
)
_WAY_OUT = (
    "give a job's name (1 to 63 letters, digits and inner dashes), its ARN, or the result of the task that "
    "started it: train.output."
)
#: Pages of 100 jobs that are searched for an ARN.
_MOST_PAGES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedJob:
    """A job's name, and its region if that was given. A name from an ARN is in lower case."""

    name: str
    region: str | None = None
    is_from_arn: bool = False

    @classmethod
    def of(cls, value: Any, *, field: str) -> NamedJob:
        """From a name, an ARN, or `{"Training": <DescribeTrainingJob>}` as the Amazon provider's operator and
        ours return it, also as JSON text. Raises `EmptyValue` or `InvalidInput`.
        """
        if is_left_out(value):
            raise EmptyValue(field, value, "give the job to wait for. Did the upstream task push nothing?")
        found = from_json_text(value)
        if isinstance(found, Mapping):
            return cls._of_result(found, field=field)
        text = found.strip() if isinstance(found, str) else ""
        if match := _ARN.fullmatch(text):
            return cls(name=match["name"], region=match["region"], is_from_arn=True)
        if not is_job_name(text):
            raise InvalidInput(field, value, _WAY_OUT)
        return cls(name=text)

    @classmethod
    def _of_result(cls, result: Mapping[str, Any], *, field: str) -> NamedJob:
        training = result.get("Training", result)
        job = training if isinstance(training, Mapping) else {}
        name, arn = job.get("TrainingJobName"), job.get("TrainingJobArn")
        if not isinstance(name, str) or not is_job_name(name):
            way_out = f"this mapping has no Training.TrainingJobName; {_WAY_OUT}"
            raise InvalidInput(field, sorted(map(str, result)), way_out)
        match = _ARN.fullmatch(str(arn))
        return cls(name=name, region=match["region"] if match else None)

    def name_in(self, jobs: TrainingJobs) -> str:
        """The name as SageMaker knows it: ARNs have it in lower case."""
        if not self.is_from_arn or jobs.describe(self.name) is not None:
            return self.name
        for number, page in enumerate(jobs.pages()):
            for summary in page:
                if summary.name.lower() == self.name.lower():
                    return summary.name
            if number + 1 >= _MOST_PAGES:
                break
        return self.name
