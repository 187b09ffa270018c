"""The one place that talks to SageMaker about training jobs. Decides nothing about a training."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from spot_training import metrics
from spot_training.domain.errors import InvalidInput, NotOurJob, RequestRefused, SpotTrainingError
from spot_training.domain.lifecycle import TERMINAL_STATUSES, JobSnapshot, TrainingStatus
from spot_training.domain.messages import stop_command
from spot_training.domain.stop_reasons import StopNote, StopReason, note_of
from spot_training.process import within

from .calls import Refusal, calling, error_text, for_certain, is_certain, refusal_of, translated, unreachable
from .clock import ServiceClock
from .descriptions import Summary, account_of, snapshot_of, summary_of
from .identity import TAG_INTENT, TAG_KEY, TAG_STOPPED_AT, TAG_STOPPED_FOR
from .request import hide_secrets

if TYPE_CHECKING:
    from botocore.client import BaseClient

log = logging.getLogger(__name__)

#: How long a stop waits for its reason to be written into a tag, and where a process is killed in a moment.
TAG_SECONDS = 10.0
TAG_SECONDS_WHEN_KILLED = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """A job of the wanted name that is ours: made just now, or found there and adopted."""

    arn: str
    is_new: bool


class CapacityRefused(Exception):
    """SageMaker refused the job because of a quota or missing capacity. Nothing was created."""

    def __init__(self, refusal: Refusal, text: str) -> None:
        super().__init__(text)
        self.refusal = refusal
        self.text = text


class NotSureYet(Exception):
    """An answer that may be wrong for a moment: ask again (`certainty.until_sure`)."""


class NoTagsYet(NotSureYet):
    """AWS shows no tags of a job of the wanted name."""


class NotThereYet(NotSureYet):
    """SageMaker calls the wanted name taken, or may have lost its reply, and describes no such job."""


def check_is_ours(name: str, tags: Mapping[str, str], *, key: str) -> None:
    """Raise `NotOurJob` for a job of our name that does not carry our key."""
    if tags.get(TAG_KEY) != key:
        raise NotOurJob(
            f"A training job named {name} exists that this task did not create (tag {TAG_KEY} is not {key}). "
            "It was left alone, and nothing new was created. Give the task another TrainingJobName prefix."
        )


class NameSpent(Exception):
    """A job of this training has the wanted name, and was made by another intent."""


class TrainingJobs:
    """Training jobs of one connection and region, over a boto3 SageMaker client."""

    def __init__(self, client: BaseClient) -> None:
        self._client: Any = client
        self.clock = ServiceClock()
        self.clock.listen_to(client)

    def now(self) -> datetime:
        """AWS's time. Makes a cheap call if there was no answer yet."""
        if not self.clock.is_set:
            with calling("ListTrainingJobs"):
                self._client.list_training_jobs(MaxResults=1)
        return self.clock.now()

    def listen(self, attach: Callable[[BaseClient], None]) -> None:
        """Attach to the client's requests and answers: `RateLimit.govern`, for example."""
        attach(self._client)

    @property
    def region(self) -> str:
        return str(self._client.meta.region_name)

    @property
    def partition(self) -> str:
        return str(self._client.meta.partition)

    def account(self) -> str | None:
        """The account of the credentials, from the ARN of any job in this region. None without a job.

        Needs no permission and no endpoint that training does not need: networks with VPC endpoints may lack
        STS.
        """
        try:
            with calling("ListTrainingJobs"):
                listed = self._client.list_training_jobs(MaxResults=1)["TrainingJobSummaries"]
        except SpotTrainingError as error:
            log.warning("The account of the connection is not known: %s", error)
            return None
        return account_of(listed[0]["TrainingJobArn"]) if listed else None

    @property
    def endpoint_url(self) -> str:
        return str(self._client.meta.endpoint_url)

    def describe(self, name: str) -> dict[str, Any] | None:
        """`DescribeTrainingJob`, or None when there is no such job. Throttling is retried by botocore."""
        with calling(f"DescribeTrainingJob {name}", nothing_at={Refusal.NOT_FOUND}):
            description: dict[str, Any] = self._client.describe_training_job(TrainingJobName=name)
            description.pop("ResponseMetadata", None)
            return description
        return None

    def snapshot(self, name: str) -> JobSnapshot | None:
        """The job as AWS describes it now, or None when there is no such job."""
        description = self.describe(name)
        return None if description is None else snapshot_of(description)

    def create_or_adopt(self, request: Mapping[str, Any], *, key: str, nonce: str) -> Created:
        """`CreateTrainingJob`; a job of that name that carries our `key` is taken as the one asked for.

        So a lost reply, a retried call and a worker that died after the call all lead to one job. Raises as
        `claim` does, and `CapacityRefused`, `RequestRefused`, `InvalidInput`, `CredentialsExpired` or
        `ServiceFailed`; where it is certain that there is no job, with `nothing_was_created`.
        """
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            NoCredentialsError,
            ParamValidationError,
            PartialCredentialsError,
        )

        name = request["TrainingJobName"]
        try:
            arn = self._ask_for(request)
        except ParamValidationError as error:
            raise for_certain(InvalidInput("config", name, f"{error}.")) from error
        except ClientError as error:
            match refusal_of(error):
                case Refusal.NAME_TAKEN:
                    return self.claim(self._describe_taken(name), key=key, nonce=nonce)
                case (Refusal.QUOTA | Refusal.CAPACITY) as refusal:
                    # Where a reply was lost, botocore asked twice: the job itself may fill the quota.
                    if (description := self.describe(name)) is not None:
                        return self.claim(description, key=key, nonce=nonce)
                    if error.response.get("ResponseMetadata", {}).get("RetryAttempts"):
                        raise NotThereYet(name) from error
                    raise CapacityRefused(refusal, error_text(error)) from error
                case refusal:
                    created_nothing = is_certain(error, refusal)
                    refused = translated(error, f"CreateTrainingJob {name}", created_nothing=created_nothing)
                    raise (for_certain(refused) if created_nothing else refused) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            unsigned = unreachable(error, f"CreateTrainingJob {name}", created_nothing=True)
            raise for_certain(unsigned) from error
        except BotoCoreError as error:
            raise unreachable(error, f"CreateTrainingJob {name}") from error
        return Created(arn=arn, is_new=True)

    def _ask_for(self, request: Mapping[str, Any]) -> str:
        from botocore.exceptions import ClientError, ParamValidationError

        try:
            return str(self._client.create_training_job(**request)["TrainingJobArn"])
        except (ClientError, ParamValidationError) as error:
            hide_secrets(error, request)
            raise

    def claim(self, description: Mapping[str, Any], *, key: str, nonce: str) -> Created:
        """Adopt a job of the wanted name: its tags say whether this training and this intent created it.

        Raises `NotOurJob`; `NameSpent` for a job of this training that another intent created; `NoTagsYet`
        where AWS shows no tags at all: our own jobs have tags from the start, but one empty answer is no
        proof.
        """
        name, arn = str(description["TrainingJobName"]), str(description["TrainingJobArn"])
        tags = self.tags(arn)
        if not tags:
            raise NoTagsYet(name)
        check_is_ours(name, tags, key=key)
        if tags.get(TAG_INTENT, "") != nonce:
            raise NameSpent
        return Created(arn=arn, is_new=False)

    def is_ours(self, name: str, *, key: str) -> bool:
        """Whether there is a job of that name, and its tags say that we made it."""
        description = self.describe(name)
        return description is not None and self.tags(description["TrainingJobArn"]).get(TAG_KEY) == key

    def stop(
        self,
        name: str,
        why: StopReason,
        *,
        tag_within: float = TAG_SECONDS,
        keep_reason: Callable[[StopNote], None] = lambda _note: None,
    ) -> bool:
        """Write the reason into a tag, then `StopTrainingJob`.

        A tag that is not written within `tag_within` seconds does not delay the stop: `keep_reason` then gets
        the reason, before the stop, and the tag is tried again after the stop, because a freeze delays both.
        A job that is already being stopped gets neither: that stop is not ours.
        Returns False when there was nothing to stop: no such job, being stopped, or already over.
        """
        note = StopNote(why=why, at=self._now_or_none())
        is_late = False
        try:
            if not within(tag_within, lambda: self._tag_stop(name, note)):
                return False
        except Exception as error:  # noqa: BLE001 - the stop counts, not the tag
            log.warning("Training job %s could not be tagged with why it is stopped: %s", name, error)
            with contextlib.suppress(Exception):
                keep_reason(note)
            is_late = isinstance(error, TimeoutError)
        try:
            is_stopped = self._stop(name)
        except SpotTrainingError:
            metrics.FAILED_STOPS.add(reason=why)
            raise
        if is_stopped and is_late:
            with contextlib.suppress(Exception):  # logged above
                within(tag_within, lambda: self._add_stop_tags(self._describe_taken(name), note))
        return is_stopped

    def _now_or_none(self) -> datetime | None:
        return self.clock.now() if self.clock.is_set else None

    def _tag_stop(self, name: str, note: StopNote) -> bool:
        """Write why and when the job is stopped. False, and no tag, if it is over or being stopped.

        An unknown status is neither.
        """
        description = self._describe_taken(name)
        if description["TrainingJobStatus"] in {*TERMINAL_STATUSES, TrainingStatus.STOPPING}:
            return False
        self._add_stop_tags(description, note)
        return True

    def _add_stop_tags(self, description: Mapping[str, Any], note: StopNote) -> None:
        """The reason and its time; only the reason if the job has no room for two more tags."""
        why = {"Key": TAG_STOPPED_FOR, "Value": str(note.why)}
        if note.at is not None:
            with contextlib.suppress(RequestRefused):
                self._add_tags(description, [why, {"Key": TAG_STOPPED_AT, "Value": note.at.isoformat()}])
                return
        self._add_tags(description, [why])

    def _add_tags(self, description: Mapping[str, Any], tags: list[dict[str, str]]) -> None:
        with calling(f"AddTags {description['TrainingJobName']}"):
            self._client.add_tags(ResourceArn=description["TrainingJobArn"], Tags=tags)

    def _stop(self, name: str) -> bool:
        is_over = {Refusal.NOT_FOUND, Refusal.ALREADY_OVER}
        with calling(f"StopTrainingJob {name}", nothing_at=is_over):
            self._client.stop_training_job(TrainingJobName=name)
            return True
        return False

    def pages(self, *, modified_since: datetime | None = None) -> Iterator[tuple[Summary, ...]]:
        """All jobs, or those modified at or after a moment: the newest first, a page of 100 a call.

        A page that is empty, with more behind it, is normal.
        """
        filters: dict[str, Any] = {"SortBy": "CreationTime", "SortOrder": "Descending", "MaxResults": 100}
        if modified_since is not None:
            filters["LastModifiedTimeAfter"] = modified_since
        with calling("ListTrainingJobs"):
            for page in self._client.get_paginator("list_training_jobs").paginate(**filters):
                yield tuple(map(summary_of, page.get("TrainingJobSummaries", ())))

    def live(self) -> Iterator[str]:
        """The names of all jobs that are `InProgress`, over all pages (the filter may leave some empty)."""
        pages = self._client.get_paginator("list_training_jobs").paginate(
            StatusEquals="InProgress", SortBy="CreationTime", SortOrder="Ascending", MaxResults=100
        )
        with calling("ListTrainingJobs"):
            for page in pages:
                for summary in page.get("TrainingJobSummaries", ()):
                    yield summary["TrainingJobName"]

    def tags(self, arn: str) -> dict[str, str]:
        """The job's tags; none where there is no such job (any more)."""
        with calling(f"ListTags {arn}", nothing_at={Refusal.NOT_FOUND}):
            pages = self._client.get_paginator("list_tags").paginate(ResourceArn=arn)
            return {tag["Key"]: tag["Value"] for page in pages for tag in page.get("Tags", ())}
        return {}

    def stop_command(self, name: str) -> str:
        """The command that stops the job by hand."""
        return stop_command(name, self.region)

    def stop_note(self, arn: str) -> StopNote | None:
        """Why we stopped the job, and when, as its tags say; None where there is no such tag.

        Raises `NoTagsYet` where AWS shows no tags at all, and what `tags` raises.
        """
        if not (tags := self.tags(arn)):
            raise NoTagsYet(arn)
        return note_of(tags.get(TAG_STOPPED_FOR), tags.get(TAG_STOPPED_AT))

    def _describe_taken(self, name: str) -> dict[str, Any]:
        description = self.describe(name)
        if description is None:
            raise NotThereYet(name)
        return description
