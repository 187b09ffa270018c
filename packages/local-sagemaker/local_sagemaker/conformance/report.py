"""The table and the JSON of a run."""

from __future__ import annotations

import json
import platform
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from .check import Answer, Check, Result

if TYPE_CHECKING:
    from .evidence import Run

_SEEN_WIDTH = 160
#: What stands for the account in the JSON, so that a real run can be kept: the number of AWS's examples.
_EXAMPLE_ACCOUNT = "111122223333"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A check with its answer."""

    check: Check
    answer: Answer
    seconds: float


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of a run. The status is 3 until everything was asked."""

    began: float
    lines: list[Line] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    status: int = 3


def exit_status(lines: list[Line], left: list[str]) -> int:
    """1 if something failed; 3 if something was not answered that should have been, or is left behind."""
    results = {line.answer.result for line in lines}
    if Result.FAIL in results:
        return 1
    return 3 if Result.UNKNOWN in results or left else 0


def table(run: Run, lines: list[Line], left: list[str]) -> str:
    texts = [f"Conformance of {run.target.url} ({run.target.kind}), run {run.id}"]
    width = max((len(line.check.name) for line in lines), default=0)
    group = ""
    for line in lines:
        if line.check.group != group:
            group = line.check.group
            texts += ["", group]
        answer = line.answer
        texts.append(f"  {answer.result.upper():9} {line.check.name:{width}}  {_short(answer.seen)}")
        if answer.result is Result.FAIL:
            indent = " " * 12
            texts += [
                f"{indent}{line.check.question}",
                f"{indent}expected: {_short(answer.expected, 4 * _SEEN_WIDTH)}",
                f"{indent}seen:     {_short(answer.seen, 4 * _SEEN_WIDTH)}",
                f"{indent}source:   {line.check.source}",
            ]
    count = Counter(line.answer.result for line in lines)
    texts += ["", ", ".join(f"{count[result]} {result}" for result in Result)]
    texts += [f"LEFT BEHIND: {what}" for what in left]
    return "\n".join(texts)


def _short(value: Any, width: int = _SEEN_WIDTH) -> str:
    text = value if isinstance(value, str) else json.dumps(_plain(value), ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 3]}..."


def as_json(run: Run, outcome: Outcome) -> str:
    """Everything that was asked and seen, with AWS's raw answers. The account's number is replaced."""
    lines = outcome.lines
    count = Counter(line.answer.result for line in lines)
    content = {
        "run_id": run.id,
        "endpoint": run.target.url,
        "endpoint_kind": run.target.kind,
        "region": run.target.region,
        "speed": run.target.speed,
        "instance_type": run.target.instance_type,
        "image": run.target.image,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - outcome.began, 1),
        "versions": _versions(),
        "exit_status": outcome.status,
        "results": {str(result): count[result] for result in Result},
        "left_behind": outcome.left,
        "checks": [
            {
                "name": line.check.name,
                "group": line.check.group,
                "question": line.check.question,
                "result": line.answer.result,
                "expected": line.answer.expected,
                "seen": line.answer.seen,
                "source": line.check.source,
                "seconds": round(line.seconds, 3),
            }
            for line in lines
        ],
        "jobs": {
            name: {
                "name": job.name,
                "purpose": job.plan.purpose,
                "missing": job.missing,
                "request": job.request,
                "describes": [
                    {"at": datetime.fromtimestamp(seen.at, UTC).isoformat(), "body": seen.raw}
                    for seen in job.seen
                ],
                "report": job.report,
                "log": job.log,
                "output": job.output,
                "checkpoints": sorted(job.checkpoints),
            }
            for name, job in run.jobs.items()
        },
        "events": run.events,
    }
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False)
    return text.replace(run.target.account, _EXAMPLE_ACCOUNT) if run.target.account else text


def _versions() -> dict[str, str]:
    names = ("local-sagemaker", "boto3", "botocore")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_plain(each) for each in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
