"""The control API at `/_local/`: what no AWS API can do to the local cloud.

GET  /_local/           the page of the jobs
GET  /_local/logs/<job> the log of a job as text
GET  /_local/objects/<bucket>/<key>  a file of S3, or the files of a folder
GET  /_local/health     {"status": "ok"}
GET  /_local/clock      {"now": ISO 8601, "speed": n}
PUT  /_local/clock      {"speed": n, "announced": n}: from now on; answers announce the second (default: n)
PUT  /_local/capacity   {"instance_type": "ml.m5.xlarge", "available": false}
POST /_local/interrupt  {"training_job_name": "...", "notice_seconds": 120}
POST /_local/stalls     {"job_names": "churn-*", "instance_type": "ml.m5.xlarge", "seconds": 3600}
DELETE /_local/stalls   let uploads of checkpoints go on
POST /_local/faults     {"operation": "DescribeTrainingJob", "error": "ThrottlingException", "count": 2}
DELETE /_local/faults   cancel the open faults
POST /_local/reset      delete everything, S3 and queues too
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

from local_sagemaker.api.faults import EVERY_OPERATION, WRONG_ANSWERS, Fault, Faults, Order
from local_sagemaker.api.operations import HANDLERS
from local_sagemaker.clock import MAX_SPEED, FixedSpeedError
from local_sagemaker.jobs.errors import NotInterruptibleError
from local_sagemaker.jobs.life import NOTICE_SECONDS
from local_sagemaker.market import about_job_names
from local_sagemaker.reply import Reply
from local_sagemaker.service_model import about_instance_type, instance_types
from local_sagemaker.services.logs import read_log

from .objects import show_objects
from .page import JOBS_SHOWN, render_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from local_sagemaker.jobs.engine import Engine
    from local_sagemaker.services.objects import Objects

PREFIX = "/_local/"
#: The least and greatest number in each field of a fault.
_FAULT_LIMITS = {
    "count": (1, 10_000),
    "seconds": (0.001, 86_400),
    "probability": (0.001, 1),
    "delay_seconds": (0.001, 600),
    "burst_seconds": (0.001, 600),
}
#: Simulated seconds of a stall: at most the 28 days that a job may run.
_STALL_LIMITS = (1, 2_419_200)
#: What is below these paths is named by the rest of the path.
_PLACES = (("GET", "logs/JOB"), ("GET", "objects/BUCKET/KEY"))
#: Numbers that only some errors have.
_OF_ONE_KIND = ("delay_seconds", "burst_seconds")

Fields: TypeAlias = dict[str, Any]


class BadControlRequestError(ValueError):
    """A control request that is refused. The text says why."""


class Control:
    """Answers `/_local` and everything below it."""

    def __init__(
        self,
        engine: Engine,
        faults: Faults,
        *,
        objects: Objects,
        forget: Callable[[], None],
        set_speed: Callable[[float, float | None], None],
    ) -> None:
        self._engine = engine
        self._objects = objects
        self._faults = faults
        self._forget = forget
        self._set_clock = set_speed
        self._routes: dict[tuple[str, str], Callable[[bytes], Reply]] = {
            ("GET", ""): lambda _: self._page(),
            ("GET", "health"): lambda _: _json({"status": "ok"}),
            ("GET", "clock"): lambda _: self._clock(),
            ("PUT", "clock"): self._set_speed,
            ("PUT", "capacity"): self._capacity,
            ("POST", "interrupt"): self._interrupt,
            ("POST", "stalls"): self._stall,
            ("DELETE", "stalls"): lambda _: self._end_stalls(),
            ("POST", "faults"): self._fault,
            ("DELETE", "faults"): lambda _: self._cancel_faults(),
            ("POST", "reset"): lambda _: self._reset(),
        }

    def answer(self, method: str, path: str, body: bytes | None) -> Reply:
        if path == PREFIX.rstrip("/"):
            return Reply(status=301, headers=(("Location", PREFIX),))  # the page's links are relative
        name = path.removeprefix(PREFIX).strip("/")
        method = "GET" if method == "HEAD" else method
        if method == "GET" and name.startswith("logs/"):
            return self._log(unquote(name.removeprefix("logs/")))
        if method == "GET" and name.startswith("objects/"):
            place = unquote(path.removeprefix(f"{PREFIX}objects/"))
            return show_objects(self._objects, place, prefix=f"{PREFIX}objects/", headers=_ONLY_OURS)
        route = self._routes.get((method, name))
        if route is None:
            known = [f"{verb} {PREFIX}{each}" for verb, each in (*self._routes, *_PLACES)]
            is_known_name = any(each == name for _, each in self._routes)
            status = 405 if is_known_name else 404
            return _json({"error": f"{method} {path} is unknown. Known: {', '.join(known)}."}, status)
        try:
            return route(body or b"")
        except (BadControlRequestError, FixedSpeedError, NotInterruptibleError) as exc:
            return _json({"error": str(exc)}, 400)

    def _clock(self) -> Reply:
        clock = self._engine.clock
        return _json({"now": clock.now().isoformat(), "speed": clock.shown_speed})

    def _set_speed(self, body: bytes) -> Reply:
        fields = _fields(body, {"speed": float}, optional={"announced": float})
        for name, speed in fields.items():
            if not 0 < speed <= MAX_SPEED:
                raise BadControlRequestError(
                    f"{name} is {speed}: give a number above 0, at most {MAX_SPEED:g}."
                )
        self._set_clock(fields["speed"], fields.get("announced"))
        return self._clock()

    def _capacity(self, body: bytes) -> Reply:
        fields = _fields(body, {"instance_type": str, "available": bool})
        _check_instance_type(fields)
        self._engine.set_capacity(fields["instance_type"], available=fields["available"])
        return _json(fields)

    def _interrupt(self, body: bytes) -> Reply:
        wanted = {"training_job_name": str, "notice_seconds": int}
        fields = _fields(body, wanted, defaults={"notice_seconds": int(NOTICE_SECONDS)})
        if fields["notice_seconds"] < 0:
            raise BadControlRequestError(f"notice_seconds is {fields['notice_seconds']}: give 0 or more.")
        self._engine.interrupt(fields["training_job_name"], notice_seconds=fields["notice_seconds"])
        return _json(fields)

    def _stall(self, body: bytes) -> Reply:
        fields = _fields(body, {}, optional={"job_names": str, "instance_type": str, "seconds": float})
        problem = about_job_names(fields.get("job_names", "*"))
        if problem is not None:
            raise BadControlRequestError(f"job_names is {fields['job_names']!r}: {problem}.")
        _check_instance_type(fields)
        least, most = _STALL_LIMITS
        if not least <= fields.get("seconds", least) <= most:
            raise BadControlRequestError(f"seconds is {fields['seconds']}: give {least} to {most}.")
        self._engine.stall_uploads(**fields)
        return _json(fields)

    def _end_stalls(self) -> Reply:
        self._engine.resume_uploads()
        return _json({"status": "resumed"})

    def _fault(self, body: bytes) -> Reply:
        numbers = {"count": int, **dict.fromkeys(("seconds", "probability", *_OF_ONE_KIND), float)}
        fields = _fields(body, {"operation": str, "error": str}, optional=numbers)
        _check_fault(fields)
        if "count" not in fields and "seconds" not in fields:
            fields["count"] = 1
        self._faults.add(
            Order(
                operation=fields["operation"],
                fault=Fault(fields["error"]),
                count=fields.get("count"),
                seconds=fields.get("seconds"),
                probability=fields.get("probability", 1.0),
                delay_seconds=fields.get("delay_seconds", 0.0),
                burst_seconds=fields.get("burst_seconds"),
            )
        )
        return _json(fields)

    def _cancel_faults(self) -> Reply:
        self._faults.clear()
        return _json({"status": "forgiven"})

    def _reset(self) -> Reply:
        self._faults.clear()
        self._engine.reset()
        self._forget()
        return _json({"status": "reset"})

    def _page(self) -> Reply:
        with self._engine as now:
            jobs = list(self._engine.store.jobs())
        newest = jobs[: -JOBS_SHOWN - 1 : -1]
        page = render_page(newest, now=now, speed=self._engine.clock.shown_speed, count=len(jobs))
        return Reply(body=page.encode(), content_type="text/html; charset=utf-8", headers=_ONLY_OURS)

    def _log(self, job_name: str) -> Reply:
        """The log of a job as plain text, one stream after another."""
        streams = read_log(job_name)
        if not streams:
            why = "it has run no program. A job with LOCAL_TRAINING_SECONDS is simulated and runs none."
            return _json({"error": f"{job_name} has no log: {why}"}, 404)
        text = "\n".join(f"== {name}\n" + "".join(f"{line}\n" for line in lines) for name, lines in streams)
        return Reply(body=text.encode(), content_type="text/plain; charset=utf-8", headers=_ONLY_OURS)


def _check_instance_type(fields: Fields) -> None:
    instance_type = fields.get("instance_type")
    if instance_type is not None and instance_type not in instance_types():
        problem = about_instance_type(instance_type)
        raise BadControlRequestError(f"instance_type is {instance_type!r}: {problem}.")


def _check_fault(fields: Fields) -> None:
    operation, error = fields["operation"], fields["error"]
    if operation not in {*HANDLERS, EVERY_OPERATION}:
        raise BadControlRequestError(
            f"operation is {operation!r}: give one of {', '.join(HANDLERS)}, or {EVERY_OPERATION} for all."
        )
    if error not in set(Fault):
        raise BadControlRequestError(f"error is {error!r}: give one of {', '.join(Fault)}.")
    wrong_in = WRONG_ANSWERS.get(Fault(error))
    if wrong_in is not None and operation not in wrong_in:
        raise BadControlRequestError(
            f"operation is {operation!r}: {error} is an answer of {' or '.join(sorted(wrong_in))}."
        )
    for name, (least, most) in _FAULT_LIMITS.items():
        if name in fields and not least <= fields[name] <= most:
            raise BadControlRequestError(f"{name} is {fields[name]}: give {least:g} to {most:g}.")
    if (error == Fault.SLOW_RESPONSE) != ("delay_seconds" in fields):
        raise BadControlRequestError(
            f"delay_seconds is {fields.get('delay_seconds')}: give it with {Fault.SLOW_RESPONSE}, and "
            "with no other error."
        )
    if "burst_seconds" in fields and wrong_in is None:
        raise BadControlRequestError(
            f"burst_seconds is {fields['burst_seconds']}: give it with {', '.join(WRONG_ANSWERS)} only."
        )


#: The name or log of a job must not run as a program in a browser.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ONLY_OURS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
)


def _fields(
    body: bytes,
    wanted: dict[str, type],
    *,
    defaults: Fields | None = None,
    optional: dict[str, type] | None = None,
) -> Fields:
    """The members of a JSON object, checked by type. Raises `BadControlRequestError`."""
    try:
        given = json.loads(body)
    except ValueError as exc:
        raise BadControlRequestError(f"The body is not JSON: {exc}.") from exc
    if not isinstance(given, dict):
        raise BadControlRequestError("The body must be a JSON object.")
    fields = (defaults or {}) | given
    known = wanted | (optional or {})
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise BadControlRequestError(f"{', '.join(unknown)} is unknown. Known: {', '.join(known)}.")
    for name, kind in known.items():
        if name in fields:
            _check_type(name, fields[name], kind)
        elif name in wanted:
            raise BadControlRequestError(f"{name} is missing: give {_WORDS[kind]}.")
    return fields


_WORDS = {bool: "true or false", str: "a text", int: "a whole number", float: "a number"}


def _check_type(name: str, value: object, kind: type) -> None:
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (kind is not bool and isinstance(value, bool)):
        raise BadControlRequestError(f"{name} is {json.dumps(value)}: give {_WORDS[kind]}.")


def _json(content: object, status: int = 200) -> Reply:
    return Reply(status=status, body=json.dumps(content).encode(), content_type="application/json")
