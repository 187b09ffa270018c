"""Search over training jobs: filters on any property and `Tags.<key>`, nested with And and Or."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from local_sagemaker.jobs.errors import ValidationError


def search_jobs(records: list[dict[str, Any]], params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The records that match, sorted as requested (default: LastModifiedTime, newest first)."""
    expression = params.get("SearchExpression")
    found = [record for record in records if expression is None or _matches(record, expression)]
    sort_by = params.get("SortBy") or "LastModifiedTime"
    known = [record for record in found if _comparable(_property(record, sort_by)) is not None]
    rest = [record for record in found if _comparable(_property(record, sort_by)) is None]
    known.sort(key=lambda r: _sort_key(_property(r, sort_by)), reverse=params.get("SortOrder") != "Ascending")
    return known + rest


def _matches(record: Mapping[str, Any], expression: Mapping[str, Any]) -> bool:
    answers = [_is_kept(record, condition) for condition in expression.get("Filters") or ()]
    for nested in expression.get("NestedFilters") or ():
        items = _property(record, nested["NestedPropertyName"])
        prefix = f"{nested['NestedPropertyName']}."
        answers.append(
            any(
                all(_is_kept(item, {**f, "Name": f["Name"].removeprefix(prefix)}) for f in nested["Filters"])
                for item in (items if isinstance(items, list) else [])
            )
        )
    answers += [_matches(record, sub) for sub in expression.get("SubExpressions") or ()]
    return any(answers) if expression.get("Operator") == "Or" and answers else all(answers)


def _is_kept(record: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    value = _property(record, condition["Name"])
    operator = condition.get("Operator") or "Equals"
    if operator == "Exists":
        return value is not None
    if operator == "NotExists":
        return value is None
    wanted = condition.get("Value")
    if wanted is None:
        raise ValidationError(f"The filter on {condition['Name']} needs a Value.")
    if value is None:
        return operator == "NotEquals"
    match operator:
        case "Equals":
            return bool(_text(value) == wanted)
        case "NotEquals":
            return bool(_text(value) != wanted)
        case "Contains":
            return wanted.lower() in _text(value).lower()
        case "In":
            return _text(value) in [part.strip() for part in wanted.split(",")]
    left, right = _comparable(value), _comparable_text(wanted)
    if left is None or right is None:
        raise ValidationError(f"The operator {operator} needs a number or a timestamp: {condition['Name']}.")
    return {
        "GreaterThan": left > right,
        "GreaterThanOrEqualTo": left >= right,
        "LessThan": left < right,
        "LessThanOrEqualTo": left <= right,
    }[operator]


def _property(record: Mapping[str, Any], name: str) -> Any:
    if name.startswith("Tags."):
        tags = {tag["Key"]: tag["Value"] for tag in record.get("Tags") or ()}
        return tags.get(name.removeprefix("Tags."))
    value: Any = record
    parts = name.split(".")
    for position, part in enumerate(parts):
        if not isinstance(value, Mapping):
            return None
        rest = ".".join(parts[position:])
        if rest in value:  # names of hyperparameters can have dots
            return value[rest]
        value = value.get(part)
    return value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def _sort_key(value: Any) -> Any:
    return value if isinstance(value, str) else _comparable(value)


def _comparable(value: Any) -> float | None:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    return _comparable_text(value) if isinstance(value, str) else None


def _comparable_text(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
