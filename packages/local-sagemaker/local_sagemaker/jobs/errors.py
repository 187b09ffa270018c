"""Why a call is refused: one class for each error code of SageMaker, and two errors of this server."""

from __future__ import annotations


class ValidationError(ValueError):
    """`ValidationException`."""


class SerializationError(ValueError):
    """`SerializationException`: JSON of the wrong shape."""


class ResourceInUseError(ValueError):
    """`ResourceInUse`."""


class ResourceLimitExceededError(ValueError):
    """`ResourceLimitExceeded`."""


class NotInterruptibleError(ValueError):
    """The job is not a running spot job."""


class IllegalMoveError(RuntimeError):
    """A move that AWS's lifecycle does not have: a bug in this server, never an answer to a client."""
