"""The one place that talks to SageMaker about training jobs.

Turns descriptions into `JobSnapshot`s and botocore's `ClientError`s into this package's errors, by a table.
Decides nothing about a training.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from spot_training.domain.errors import (
    CredentialsExpired,
    InvalidInput,
    NotOurJob,
    RequestRefused,
    ServiceFailed,
    SpotTrainingError,
)
from spot_training.domain.lifecycle import (
    TERMINAL_STATUSES,
    JobSnapshot,
    SecondaryStatus,
    TrainingStatus,
    Transition,
)
from spot_training.domain.stops import StopNote, StopReason, note_of
from spot_training.domain.text import whole_text
from spot_training.domain.wording import stop_command

from .bounded import within
from .clock import ServiceClock
from .identity import TAG_INTENT, TAG_KEY, TAG_STOPPED_AT, TAG_STOPPED_FOR
from .request import hide_secrets, share_service_model

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.exceptions import BotoCoreError, ClientError

log = logging.getLogger(__name__)

#: How long a stop waits for its reason to be written into a tag, and where a process is killed in a moment.
TAG_SECONDS = 10.0
TAG_SECONDS_WHEN_KILLED = 1.0
#: Sentences SageMaker answers a ValidationException with when it means "there is no such job".
_NO_SUCH_JOB = ("requested resource not found", "could not find")
#: And when a stop came too late.
_ALREADY_OVER = "training job is in status"
#: Its first five, of twelve and more.
_LONG_LIST = re.compile(r"\[([^][,]+(?:,[^][,]+){4})(?:,[^][,]+){7,}\]")


class Refusal(StrEnum):
    """What kind of answer an AWS error is, whichever call it answers."""

    NAME_TAKEN = "name taken"
    QUOTA = "quota"
    CAPACITY = "capacity"
    NOT_FOUND = "not found"
    ALREADY_OVER = "already over"
    REQUEST = "request"
    PERMISSION = "permission"
    EXPIRED = "expired"
    SERVICE = "service"


#: Error code -> what it means. Codes that are not here are the service's own trouble.
_REFUSALS = {
    "ResourceInUse": Refusal.NAME_TAKEN,
    "ResourceLimitExceeded": Refusal.QUOTA,
    "CapacityError": Refusal.CAPACITY,
    "InsufficientCapacityError": Refusal.CAPACITY,
    "ResourceNotFound": Refusal.NOT_FOUND,
    "ValidationException": Refusal.REQUEST,
    "ValidationError": Refusal.REQUEST,
    "SerializationException": Refusal.REQUEST,
    "AccessDenied": Refusal.PERMISSION,
    "AccessDeniedException": Refusal.PERMISSION,
    "NotAuthorized": Refusal.PERMISSION,
    "UnauthorizedOperation": Refusal.PERMISSION,
    "UnrecognizedClientException": Refusal.PERMISSION,
    "InvalidClientTokenId": Refusal.PERMISSION,
    "SignatureDoesNotMatch": Refusal.PERMISSION,
    "InvalidSignatureException": Refusal.PERMISSION,
    "IncompleteSignature": Refusal.PERMISSION,
    "MissingAuthenticationToken": Refusal.PERMISSION,
    "ExpiredTokenException": Refusal.EXPIRED,
    "ExpiredToken": Refusal.EXPIRED,
}


def refusal_of(error: ClientError) -> Refusal:
    """What a ClientError means."""
    code = error.response.get("Error", {}).get("Code", "")
    text = error_text(error).lower()
    refusal = _REFUSALS.get(code, Refusal.SERVICE)
    if refusal is Refusal.REQUEST:
        if any(sentence in text for sentence in _NO_SUCH_JOB):
            return Refusal.NOT_FOUND
        if _ALREADY_OVER in text:
            return Refusal.ALREADY_OVER
    return refusal


def error_text(error: ClientError) -> str:
    """AWS's own sentence."""
    details = error.response.get("Error", {})
    return whole_text(str(details.get("Message") or details.get("Code") or error))


def _in_short(text: str) -> str:
    """AWS's sentence with the first of a long list only: it names all instance types there are."""
    short = _LONG_LIST.sub(r"[\1, ...]", text.rstrip())
    return short if short.endswith((".", "!", "?")) else f"{short}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """A job of the wanted name that is ours: made just now, or found there and adopted."""

    arn: str
    is_new: bool


class CapacityRefused(Exception):
    """SageMaker refused to take the job for want of quota or capacity; nothing was created."""

    def __init__(self, refusal: Refusal, text: str) -> None:
        super().__init__(text)
        self.refusal = refusal
        self.text = text


class NotSureYet(Exception):
    """An answer that may be wrong for a moment: who asked asks again (`certainty.until_sure`)."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What `ListTrainingJobs`, or an event, says of a job: enough to know whether there is news."""

    name: str
    status: TrainingStatus
    secondary_status: SecondaryStatus
    last_modified_at: datetime

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL_STATUSES


class TrainingJobs:
    """Training jobs of one connection and region, over a boto3 SageMaker client."""

    def __init__(self, client: BaseClient) -> None:
        self._client: Any = client
        self.clock = ServiceClock()
        self.clock.listen_to(client)
        share_service_model(client.meta.service_model)

    def now(self) -> datetime:
        """AWS's time. Asks for something cheap where nothing was asked yet."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if not self.clock.is_set:
                self._client.list_training_jobs(MaxResults=1)
        except ClientError as error:
            raise self._translated(error, "ListTrainingJobs") from error
        except BotoCoreError as error:
            raise _unreachable(error, "ListTrainingJobs") from error
        return self.clock.now()

    def listen(self, attach: Callable[[BaseClient], None]) -> None:
        """Let somebody listen to what the client sends and gets: a `CallBudget.govern`, say."""
        attach(self._client)

    @property
    def region(self) -> str:
        return str(self._client.meta.region_name)

    @property
    def partition(self) -> str:
        return str(self._client.meta.partition)

    def account(self) -> str | None:
        """The account of the credentials, read off the ARN of any job in this region; None without a job.

        Needs no permission and no endpoint that training does not need: networks with VPC endpoints may lack
        STS.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            listed = self._client.list_training_jobs(MaxResults=1)["TrainingJobSummaries"]
        except (BotoCoreError, ClientError) as error:
            log.warning("The account of the connection is not known: %s", error)
            return None
        return account_of(listed[0]["TrainingJobArn"]) if listed else None

    @property
    def endpoint_url(self) -> str:
        return str(self._client.meta.endpoint_url)

    def describe(self, name: str) -> dict[str, Any] | None:
        """`DescribeTrainingJob`, or None when there is no such job. Throttling is retried by botocore."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            description: dict[str, Any] = self._client.describe_training_job(TrainingJobName=name)
        except ClientError as error:
            if refusal_of(error) is Refusal.NOT_FOUND:
                return None
            raise self._translated(error, f"DescribeTrainingJob {name}") from error
        except BotoCoreError as error:
            raise _unreachable(error, f"DescribeTrainingJob {name}") from error
        description.pop("ResponseMetadata", None)
        return description

    def snapshot(self, name: str) -> JobSnapshot | None:
        """What AWS says of the job now, or None when there is no such job."""
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
            raise _for_certain(InvalidInput("config", name, f"{error}.")) from error
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
                    told = self._translated(error, f"CreateTrainingJob {name}")
                    raise (_for_certain(told) if _is_certain(error, refusal) else told) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise _for_certain(_unreachable(error, f"CreateTrainingJob {name}")) from error
        except BotoCoreError as error:
            raise _unreachable(error, f"CreateTrainingJob {name}") from error
        return Created(arn=arn, is_new=True)

    def _ask_for(self, request: Mapping[str, Any]) -> str:
        from botocore.exceptions import ClientError, ParamValidationError

        try:
            return str(self._client.create_training_job(**request)["TrainingJobArn"])
        except (ClientError, ParamValidationError) as error:
            hide_secrets(error, request)
            raise

    def claim(self, description: Mapping[str, Any], *, key: str, nonce: str) -> Created:
        """Take a job of the wanted name as ours: its tags say whether it is of this training and this intent.

        Raises `NotOurJob`, or `NameSpent` where it is the training's, of an intent that nobody remembers, or
        `NoTagsYet` where AWS shows no tags at all: our own jobs have some from their first moment on, but a
        single empty answer is not believed.
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

        A tag that is not written within `tag_within` seconds does not hold the stop back: `keep_reason` gets
        the reason then, before the stop. A job that somebody is stopping already gets neither: that stop is
        not ours. Returns False when there was nothing to stop: no such job, being stopped, or already over.
        """
        note = StopNote(why=why, at=self._now_or_none())
        try:
            if not within(tag_within, lambda: self._tag_stop(name, note)):
                return False
        except Exception as error:  # noqa: BLE001 - the stop counts, not the tag
            log.warning("Training job %s could not be tagged with why it is stopped: %s", name, error)
            with contextlib.suppress(Exception):
                keep_reason(note)
        return self._stop(name)

    def _now_or_none(self) -> datetime | None:
        return self.clock.now() if self.clock.is_set else None

    def _tag_stop(self, name: str, note: StopNote) -> bool:
        """Write why and when the job is stopped; False and nothing where it is over, or being stopped.

        A status that this version does not know is neither.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        description = self.describe(name)
        if description is None:
            raise NotThereYet(name)
        if description["TrainingJobStatus"] in {*TERMINAL_STATUSES, TrainingStatus.STOPPING}:
            return False
        tags = [{"Key": TAG_STOPPED_FOR, "Value": str(note.why)}]
        if note.at is not None:
            tags.append({"Key": TAG_STOPPED_AT, "Value": note.at.isoformat()})
        try:
            self._client.add_tags(ResourceArn=description["TrainingJobArn"], Tags=tags)
        except ClientError as error:
            raise self._translated(error, f"AddTags {name}") from error
        except BotoCoreError as error:
            raise _unreachable(error, f"AddTags {name}") from error
        return True

    def _stop(self, name: str) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.stop_training_job(TrainingJobName=name)
        except ClientError as error:
            if refusal_of(error) in {Refusal.NOT_FOUND, Refusal.ALREADY_OVER}:
                return False
            raise self._translated(error, f"StopTrainingJob {name}") from error
        except BotoCoreError as error:
            raise _unreachable(error, f"StopTrainingJob {name}") from error
        return True

    def pages(self, *, modified_since: datetime | None = None) -> Iterator[tuple[Summary, ...]]:
        """All jobs, or those modified at or after a moment: the newest first, a page of 100 a call.

        A page that is empty, with more behind it, is normal.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        filters: dict[str, Any] = {"SortBy": "CreationTime", "SortOrder": "Descending", "MaxResults": 100}
        if modified_since is not None:
            filters["LastModifiedTimeAfter"] = modified_since
        try:
            for page in self._client.get_paginator("list_training_jobs").paginate(**filters):
                yield tuple(map(summary_of, page.get("TrainingJobSummaries", ())))
        except ClientError as error:
            raise self._translated(error, "ListTrainingJobs") from error
        except BotoCoreError as error:
            raise _unreachable(error, "ListTrainingJobs") from error

    def live(self) -> Iterator[str]:
        """The names of all jobs that are `InProgress`, over all pages (the filter may leave some empty)."""
        from botocore.exceptions import BotoCoreError, ClientError

        pages = self._client.get_paginator("list_training_jobs").paginate(
            StatusEquals="InProgress", SortBy="CreationTime", SortOrder="Ascending", MaxResults=100
        )
        try:
            for page in pages:
                for summary in page.get("TrainingJobSummaries", ()):
                    yield summary["TrainingJobName"]
        except ClientError as error:
            raise self._translated(error, "ListTrainingJobs") from error
        except BotoCoreError as error:
            raise _unreachable(error, "ListTrainingJobs") from error

    def tags(self, arn: str) -> dict[str, str]:
        """The job's tags; none where there is no such job (any more)."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            pages = self._client.get_paginator("list_tags").paginate(ResourceArn=arn)
            return {tag["Key"]: tag["Value"] for page in pages for tag in page.get("Tags", ())}
        except ClientError as error:
            if refusal_of(error) is Refusal.NOT_FOUND:
                return {}
            raise self._translated(error, f"ListTags {arn}") from error
        except BotoCoreError as error:
            raise _unreachable(error, f"ListTags {arn}") from error

    def stop_command(self, name: str) -> str:
        """What a person types to stop the job by hand."""
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

    def _translated(self, error: ClientError, call: str) -> SpotTrainingError:
        text = _in_short(error_text(error))
        match refusal_of(error):
            case Refusal.PERMISSION:
                return RequestRefused(
                    f"AWS denied {call}: {text} {_CHANGED_NOTHING} Check the connection's credentials and "
                    "its IAM policy."
                )
            case Refusal.EXPIRED:
                return CredentialsExpired(
                    f"AWS denied {call}: {text} {_CHANGED_NOTHING} The next try asks the connection for "
                    "fresh credentials; where it holds a session token itself, renew that."
                )
            case Refusal.REQUEST | Refusal.NOT_FOUND:
                return RequestRefused(
                    f"SageMaker refused {call}: {text} {_CHANGED_NOTHING} Correct the request; a retry "
                    "cannot help."
                )
            case Refusal.QUOTA | Refusal.CAPACITY:
                return RequestRefused(f"SageMaker refused {call}: {text} {_CHANGED_NOTHING}")
            case _:
                return _service_failed(call, text)


def _for_certain(error: SpotTrainingError) -> SpotTrainingError:
    error.nothing_was_created = True
    return error


def _is_certain(error: ClientError, refusal: Refusal) -> bool:
    """Whether a refused call created nothing: an earlier try of it, of which the reply was lost, may have."""
    was_refused = refusal in {Refusal.REQUEST, Refusal.PERMISSION, Refusal.EXPIRED}
    return was_refused and not error.response.get("ResponseMetadata", {}).get("RetryAttempts")


#: Where job and bill stand after a call that was refused.
_CHANGED_NOTHING = "The call changed nothing: a training job that is alive goes on and is billed."


def _unreachable(error: BotoCoreError, call: str) -> SpotTrainingError:
    """For a call that got no answer, or could not be made."""
    from botocore.exceptions import EndpointConnectionError, NoCredentialsError, PartialCredentialsError

    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return RequestRefused(
            f"{call} could not be signed: {error}. {_CHANGED_NOTHING} Check the connection's credentials."
        )
    if isinstance(error, EndpointConnectionError):
        return _service_failed(call, f"{error}. Check the region, AWS_ENDPOINT_URL and the network.")
    return _service_failed(call, f"{error}.")


def _service_failed(call: str, text: str) -> ServiceFailed:
    return ServiceFailed(
        f"{call} failed after botocore's retries: {text} A training job that is alive goes on and is billed; "
        "the next try picks it up, under the same name."
    )


def account_of(arn: str) -> str:
    """The account in an ARN, `arn:partition:service:region:account:resource`; empty for what is no ARN."""
    parts = arn.split(":")
    return parts[4] if len(parts) > 5 else ""


def summary_of(listed: Mapping[str, Any]) -> Summary:
    """Parse an entry of `ListTrainingJobs`."""
    return Summary(
        name=listed["TrainingJobName"],
        status=TrainingStatus(listed["TrainingJobStatus"]),
        secondary_status=_secondary(listed.get("SecondaryStatus", ""), listed["TrainingJobStatus"]),
        last_modified_at=_utc(listed.get("LastModifiedTime") or listed["CreationTime"]),
    )


def snapshot_of(description: Mapping[str, Any]) -> JobSnapshot:
    """Parse what `DescribeTrainingJob` returns."""
    stopping = description.get("StoppingCondition") or {}
    resources = description.get("ResourceConfig") or {}
    return JobSnapshot(
        name=description["TrainingJobName"],
        arn=description["TrainingJobArn"],
        status=TrainingStatus(description["TrainingJobStatus"]),
        secondary_status=_secondary(description["SecondaryStatus"], description["TrainingJobStatus"]),
        created_at=_utc(description["CreationTime"]),
        last_modified_at=_utc(description.get("LastModifiedTime") or description["CreationTime"]),
        training_started_at=_utc_or_none(description.get("TrainingStartTime")),
        training_ended_at=_utc_or_none(description.get("TrainingEndTime")),
        training_seconds=description.get("TrainingTimeInSeconds"),
        billable_seconds=description.get("BillableTimeInSeconds"),
        failure_reason=whole_text(description.get("FailureReason") or "") or None,
        is_spot=bool(description.get("EnableManagedSpotTraining")),
        instance_type=resources.get("SelectedInstanceType") or resources.get("InstanceType"),
        instance_count=_instance_count(resources),
        max_runtime_seconds=stopping.get("MaxRuntimeInSeconds"),
        max_wait_seconds=stopping.get("MaxWaitTimeInSeconds"),
        checkpoint_uri=(description.get("CheckpointConfig") or {}).get("S3Uri"),
        model_uri=(description.get("ModelArtifacts") or {}).get("S3ModelArtifacts"),
        transitions=tuple(_transition_of(t) for t in description.get("SecondaryStatusTransitions") or ()),
    )


#: Stands in for a secondary status newer than this code: AWS says it may add some at any time.
_UNKNOWN_AS = {
    TrainingStatus.COMPLETED: SecondaryStatus.COMPLETED,
    TrainingStatus.FAILED: SecondaryStatus.FAILED,
    TrainingStatus.STOPPED: SecondaryStatus.STOPPED,
    TrainingStatus.STOPPING: SecondaryStatus.STOPPING,
}


def _secondary(text: str, status: str) -> SecondaryStatus:
    try:
        return SecondaryStatus(text)
    except ValueError:
        return _UNKNOWN_AS.get(TrainingStatus(status), SecondaryStatus.UPDATING)


def _instance_count(resources: Mapping[str, Any]) -> int:
    groups = resources.get("InstanceGroups") or ()
    if groups:
        return sum(int(group.get("InstanceCount", 1)) for group in groups)
    return int(resources.get("SelectedInstanceCount") or resources.get("InstanceCount") or 1)


def _transition_of(entry: Mapping[str, Any]) -> Transition:
    return Transition(
        status=_secondary(entry["Status"], TrainingStatus.IN_PROGRESS),
        started_at=_utc(entry["StartTime"]),
        ended_at=_utc_or_none(entry.get("EndTime")),
        message=whole_text(entry.get("StatusMessage", "")),
    )


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _utc_or_none(moment: datetime | None) -> datetime | None:
    return None if moment is None else _utc(moment)
