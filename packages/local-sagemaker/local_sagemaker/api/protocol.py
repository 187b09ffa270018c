"""The server's side of AWS JSON 1.1: from the body of a request to the bytes of an answer.

Decides which calls this server answers and which moto answers, finds the handler, and returns every error as
SageMaker does.
"""

from __future__ import annotations

import json
import logging
import random
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from local_sagemaker.jobs.errors import (
    ResourceInUseError,
    ResourceLimitExceededError,
    SerializationError,
    ValidationError,
)
from local_sagemaker.reply import CONTENT_TYPE, Reply, error_reply
from local_sagemaker.service_model import operation_names
from local_sagemaker.services.stand_ins import REFUSED, why_refused

from .faults import Fault, Faults
from .operations import HANDLERS, is_ours
from .wrong_answers import bend

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local_sagemaker.jobs.engine import Engine

log = logging.getLogger(__name__)

TARGET_PREFIX = "SageMaker."
#: More than any request that the model allows. SageMaker's own limit is not known.
MAX_BODY_BYTES = 4 * 1024 * 1024


#: Exception -> (error code, HTTP status, name of the message member). Errors in the service model have
#: `Message`.
_ERRORS: dict[type[Exception], tuple[str, int, str]] = {
    ValidationError: ("ValidationException", 400, "message"),
    SerializationError: ("SerializationException", 400, "Message"),
    ResourceInUseError: ("ResourceInUse", 400, "Message"),
    ResourceLimitExceededError: ("ResourceLimitExceeded", 400, "Message"),
}


class SageMakerProtocol:
    """Answers SageMaker's calls on training jobs, and refuses others before moto sees them."""

    def __init__(self, engine: Engine, faults: Faults, *, allows_stand_ins: bool = False) -> None:
        self._engine = engine
        self._faults = faults
        self._allows_stand_ins = allows_stand_ins

    def answer(self, target: str, content_type: str, body: bytes | None) -> Reply | None:
        """The reply to a call with an X-Amz-Target that starts with `SageMaker.`; None if moto answers it.

        A body of None was too large to read.
        """
        operation = target.removeprefix(TARGET_PREFIX)
        if body is None:
            return error_reply("RequestEntityTooLargeException", 413, f"The limit is {MAX_BODY_BYTES} bytes.")
        if operation not in operation_names():
            return error_reply("UnknownOperationException", 400, None)
        if content_type.partition(";")[0].strip().lower() != CONTENT_TYPE:
            return error_reply("UnknownOperationException", 404, None)
        try:
            params = _parse(body)
        except SerializationError as exc:
            return _refusal(exc)
        return (
            self._perform(operation, params) if is_ours(operation, params) else self._check(operation, params)
        )

    def _check(self, operation: str, params: Any) -> Reply | None:
        """The refusal of a call that moto would answer; None if moto may answer it."""
        reason = why_refused(operation, allows_stand_ins=self._allows_stand_ins)
        if reason is not None:
            return error_reply(REFUSED, 400, reason)
        try:
            _validate(operation, params)
        except (ValidationError, SerializationError) as exc:
            return _refusal(exc)
        return None

    def _perform(self, operation: str, params: Any) -> Reply:
        order = self._faults.take(operation)
        match order.fault if order else None:
            case Fault.THROTTLING:
                return error_reply("ThrottlingException", 400, "Rate exceeded")
            case Fault.INTERNAL_FAILURE:
                return error_reply("InternalFailure", 500, None)
            case Fault.DROP_CONNECTION:
                return Reply(is_lost=True)
            case Fault.LOSE_RESPONSE:
                self._call(operation, params)
                return Reply(is_lost=True)
            case Fault.SLOW_RESPONSE:
                assert order is not None  # noqa: S101 - it has this fault
                return replace(self._call(operation, params), delay_seconds=order.delay_seconds)
            case _:
                return self._call(operation, params)

    def _call(self, operation: str, params: Any) -> Reply:
        try:
            _validate(operation, params)
            response = bend(self._faults, operation, params, HANDLERS[operation](self._engine, params))
        except tuple(_ERRORS) as exc:
            return _refusal(exc)
        except Exception:
            log.exception("%s failed", operation)
            return error_reply("InternalFailure", 500, None)
        return Reply(body=_dump(response))


def _validate(operation: str, params: Any) -> None:
    from .validation import validate  # needs botocore, see `service_model`

    validate(operation, params)


def request_id() -> str:
    """A random ID in the form of a UUID. It is not a secret, so it needs no system call."""
    text = f"{random.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _refusal(exc: Exception) -> Reply:
    code, status, member = _ERRORS[type(exc)]
    return error_reply(code, status, str(exc), member=member)


def _parse(body: bytes) -> Any:
    try:
        params = _DECODER.decode((body or b"{}").decode("utf-8"))
    except (ValueError, RecursionError) as exc:
        raise SerializationError("The request body is not JSON.") from exc
    if not isinstance(params, dict):
        raise SerializationError("Unexpected value type in payload")
    return params


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _dump(response: Mapping[str, Any]) -> bytes:
    return _ENCODER.encode(response).encode()


def _wire(value: object) -> float:
    """A timestamp as epoch seconds with milliseconds."""
    if isinstance(value, datetime):
        return round(value.timestamp(), 3)
    raise TypeError(f"{value!r} cannot be in a response")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_ENCODER = json.JSONEncoder(default=_wire, separators=(",", ":"))
