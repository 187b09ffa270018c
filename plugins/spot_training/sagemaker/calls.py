"""Calls to AWS that fail: the one place where botocore's errors become this package's.

AWS's error codes are in a table. Decides nothing about a training.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from spot_training import metrics
from spot_training.domain.errors import (
    CredentialsExpired,
    RequestRefused,
    ServiceFailed,
    SpotTrainingError,
)
from spot_training.domain.text import whole_text

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.exceptions import BotoCoreError, ClientError

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


#: Error code -> what it means. All other codes are failures of the service.
_REFUSALS = {
    "ResourceInUse": Refusal.NAME_TAKEN,
    "ResourceLimitExceeded": Refusal.QUOTA,
    "CapacityError": Refusal.CAPACITY,
    "InsufficientCapacityError": Refusal.CAPACITY,
    "ResourceNotFound": Refusal.NOT_FOUND,
    "NoSuchEntity": Refusal.NOT_FOUND,
    "NoSuchBucket": Refusal.REQUEST,
    "BucketAlreadyExists": Refusal.REQUEST,
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


#: The codes by which AWS says "too fast", as botocore's standard retry mode knows them.
THROTTLING_CODES = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottledException",
        "RequestThrottled",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "SlowDown",
        "LimitExceededException",
    }
)


def is_throttled(answer: Mapping[str, Any] | None) -> bool:
    """Whether AWS's parsed answer says "too fast"."""
    return ((answer or {}).get("Error") or {}).get("Code") in THROTTLING_CODES


def count_calls(client: BaseClient) -> None:
    """Count a client's calls, and those that AWS throttles, in Airflow's metrics if they are on."""
    if metrics.are_on():
        client.meta.events.register("response-received", _count_call, unique_id="spot-training-metrics")


def _count_call(event_name: str, parsed_response: Mapping[str, Any] | None = None, **__: Any) -> None:
    _, service, operation = event_name.split(".", 2)
    metrics.AWS_CALLS.add(service=service, operation=operation)
    if is_throttled(parsed_response):
        metrics.AWS_THROTTLES.add(service=service, operation=operation)


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
    """AWS's sentence with only the start of a long list: AWS lists every instance type."""
    short = _LONG_LIST.sub(r"[\1, ...]", text.rstrip())
    return short if short.endswith((".", "!", "?")) else f"{short}."


@contextmanager
def calling(call: str, *, nothing_at: Collection[Refusal] = ()) -> Iterator[None]:
    """For one call, by its name in errors. Raises `RequestRefused`, `CredentialsExpired` or `ServiceFailed`.

    The refusals in `nothing_at` raise nothing: the code after the block is the answer to them.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        if refusal_of(error) not in nothing_at:
            raise translated(error, call) from error
    except BotoCoreError as error:
        raise unreachable(error, call) from error


def translated(error: ClientError, call: str, *, created_nothing: bool = False) -> SpotTrainingError:
    """This package's error for AWS's refusal of a call. `created_nothing`: it certainly created no job."""
    text = _in_short(error_text(error))
    effect = _CREATED_NOTHING if created_nothing else _CHANGED_NOTHING
    match refusal_of(error):
        case Refusal.PERMISSION:
            return RequestRefused(
                f"AWS denied {call}: {text} {effect} Check the connection's credentials and its IAM policy."
            )
        case Refusal.EXPIRED:
            return CredentialsExpired(
                f"AWS denied {call}: {text} {effect} The next try asks the connection for "
                "fresh credentials. If the connection holds a session token, renew it."
            )
        case Refusal.REQUEST | Refusal.NOT_FOUND:
            return RequestRefused(
                f"{_service_of(call)} refused {call}: {text} {effect} Correct the request; a retry "
                "cannot help."
            )
        case Refusal.QUOTA | Refusal.CAPACITY:
            return RequestRefused(f"{_service_of(call)} refused {call}: {text} {effect}")
        case _:
            return _service_failed(call, text, created_nothing=created_nothing)


def _service_of(call: str) -> str:
    return "S3" if " s3://" in call or call.startswith("CreateBucket") else "SageMaker"


def for_certain(error: SpotTrainingError) -> SpotTrainingError:
    """The error, marked: no job was created."""
    error.nothing_was_created = True
    return error


def is_certain(error: ClientError, refusal: Refusal) -> bool:
    """Whether a refused call created nothing: an earlier try of it may have, if its reply was lost."""
    was_refused = refusal in {Refusal.REQUEST, Refusal.PERMISSION, Refusal.EXPIRED}
    return was_refused and not error.response.get("ResponseMetadata", {}).get("RetryAttempts")


#: What a refused call means for the job and the bill.
_CHANGED_NOTHING = "The call changed nothing: a running training job continues and is billed."
_CREATED_NOTHING = "No training job was created."


def unreachable(error: BotoCoreError, call: str, *, created_nothing: bool = False) -> SpotTrainingError:
    """For a call that got no answer, or could not be made. `created_nothing`: as for `translated`."""
    from botocore.exceptions import EndpointConnectionError, NoCredentialsError, PartialCredentialsError

    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        effect = _CREATED_NOTHING if created_nothing else _CHANGED_NOTHING
        return RequestRefused(
            f"{call} could not be signed: {error}. {effect} Check the connection's credentials."
        )
    if isinstance(error, EndpointConnectionError):
        text = f"{error}. Check the region, AWS_ENDPOINT_URL and the network."
    else:
        text = f"{error}."
    return _service_failed(call, text, created_nothing=created_nothing)


def _service_failed(call: str, text: str, *, created_nothing: bool) -> ServiceFailed:
    going_on = "A running training job continues and is billed; the next try finds it, under the same name."
    effect = _CREATED_NOTHING if created_nothing else going_on
    return ServiceFailed(f"{call} failed after botocore's retries: {text} {effect}")
