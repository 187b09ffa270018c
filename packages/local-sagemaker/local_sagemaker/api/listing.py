"""The pages of a list: which jobs, in which order, and where a page starts."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from local_sagemaker.jobs.errors import ValidationError

if TYPE_CHECKING:
    from local_sagemaker.jobs.job import TrainingJob
    from local_sagemaker.jobs.store import Store

Params: TypeAlias = Mapping[str, Any]

_SORT_KEYS: dict[str, Callable[[TrainingJob], Any]] = {
    "Name": lambda job: job.name,
    "CreationTime": lambda job: job.created_at.timestamp(),
    "Status": lambda job: str(job.status),
}


def sort_key(params: Params) -> Callable[[TrainingJob], Any]:
    return _SORT_KEYS[params.get("SortBy") or "CreationTime"]


def in_order(store: Store, params: Params) -> Iterator[TrainingJob]:
    """Jobs in the requested order, after those of earlier pages. The default order needs no sorting."""
    is_descending = params.get("SortOrder") == "Descending"
    after = _position(params["NextToken"]) if params.get("NextToken") else None
    if params.get("SortBy") in (None, "CreationTime"):
        if after is not None and not isinstance(after[0], int | float):
            raise ValidationError(_NO_SUCH_PAGE)
        return store.jobs_by_creation(after=after, is_descending=is_descending)
    key_of = sort_key(params)
    if after is not None and not isinstance(after[0], str):
        raise ValidationError(_NO_SUCH_PAGE)
    keyed = sorted(((key_of(job), job.name) for job in store.jobs()), reverse=is_descending)
    names = (
        name
        for key, name in keyed
        if after is None or ((key, name) < after if is_descending else (key, name) > after)
    )
    return (job for job in map(store.get, names) if job is not None)


def _position(token: str) -> tuple[Any, str]:
    match _read_token(token, "after"):
        case [key, str(name)]:
            return key, name
        case _:
            raise ValidationError(_NO_SUCH_PAGE)


def filters(params: Params) -> list[Callable[[TrainingJob], bool]]:
    """The conditions that a listed job meets."""
    conditions: list[Callable[[TrainingJob], bool]] = []
    wanted = (params.get("NameContains") or "").lower()
    if wanted:
        conditions.append(lambda job: wanted in job.name.lower())
    if params.get("WarmPoolStatusEquals") or params.get("TrainingPlanArnEquals"):
        conditions.append(lambda _: False)
    limits = _time_limits(params)
    if created_after := limits.get("CreationTimeAfter"):
        conditions.append(lambda job: job.created_at >= created_after)
    if created_before := limits.get("CreationTimeBefore"):
        conditions.append(lambda job: job.created_at <= created_before)
    if modified_after := limits.get("LastModifiedTimeAfter"):
        conditions.append(lambda job: job.last_modified_at >= modified_after)
    if modified_before := limits.get("LastModifiedTimeBefore"):
        conditions.append(lambda job: job.last_modified_at <= modified_before)
    return conditions


def _time_limits(params: Params) -> dict[str, datetime]:
    names = ("CreationTimeAfter", "CreationTimeBefore", "LastModifiedTimeAfter", "LastModifiedTimeBefore")
    return {name: _instant(params[name]) for name in names if params.get(name) is not None}


def _instant(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError) as exc:
        raise ValidationError(f"Invalid timestamp: {seconds}") from exc


def take_page(
    items: list[dict[str, Any]], params: Params, *, size: int
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The requested page of `size` or MaxResults items, and the NextToken, if there are more."""
    start = int(_read_token(params["NextToken"], "offset")) if params.get("NextToken") else 0
    end = start + (params.get("MaxResults") or size)
    return items[start:end], {"NextToken": make_token({"offset": end})} if end < len(items) else {}


_NO_SUCH_PAGE = "Invalid NextToken."


def make_token(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


def _read_token(token: str, key: str) -> Any:
    try:
        return json.loads(base64.urlsafe_b64decode(token))[key]
    except (ValueError, KeyError, TypeError) as exc:
        raise ValidationError(_NO_SUCH_PAGE) from exc
