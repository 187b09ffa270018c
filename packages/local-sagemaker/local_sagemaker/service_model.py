"""SageMaker's service model, as botocore has it: operations, instance types, patterns.

botocore is imported when the model is first needed, so that the server is ready sooner.
"""

from __future__ import annotations

import difflib
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from botocore.model import ServiceModel


@lru_cache(maxsize=1)
def service_model() -> ServiceModel:
    import botocore.session

    return botocore.session.get_session().get_service_model("sagemaker")


@lru_cache(maxsize=1)
def instance_types() -> frozenset[str]:
    """Every instance type of training jobs."""
    return frozenset(service_model().shape_for("TrainingInstanceType").metadata["enum"])


def about_instance_type(name: str) -> str:
    """The words of an error about a name that is no instance type."""
    close = difflib.get_close_matches(name if name.startswith("ml.") else f"ml.{name}", instance_types(), n=1)
    return f"SageMaker has no such training instance type; {close[0] if close else 'ml.m5.xlarge'} is one"


# The model's patterns are Java's. They have Unicode classes that Python's `re` does not know.
_JAVA_CLASSES = {
    r"\p{L}": r"\w",
    r"\p{N}": r"\w",
    r"\p{Z}": " \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
    r"\p{Alnum}": "a-zA-Z0-9",
}


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern of the service model, for `fullmatch` (Java's `matches`).

    The few that `re` cannot read are read by `regex`, which is slower. Those with Java's surrogate pairs
    match everything.
    """
    python = pattern
    for java, own in _JAVA_CLASSES.items():
        python = python.replace(java, own)
    try:
        return re.compile(python)
    except re.error:
        import regex  # type: ignore[import-untyped]

        try:
            found: re.Pattern[str] = regex.compile(pattern)
        except regex.error:
            return re.compile(r"[\s\S]*")
        return found


@lru_cache(maxsize=1)
def operation_names() -> frozenset[str]:
    return frozenset(service_model().operation_names)
