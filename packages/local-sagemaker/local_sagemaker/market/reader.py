"""Reads market files and the shipped scenarios. The format is in the docstring of the package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from local_sagemaker.service_model import about_instance_type, instance_types

from .capacity import Changes, random_changes, trace_changes, windows
from .spec import Interruption, MarketSpec, Origin, Shortage, StalledUploads, TypeRule
from .traces import parse_trace
from .values import MarketFileError, Values, about_job_names

SCENARIOS = Path(__file__).parent / "scenarios"


def load_market(name_or_path: str | None, *, price_ratio: float | None = None) -> MarketSpec:
    """Read a market file, or a shipped scenario by name. `price_ratio` is for files without one."""
    if name_or_path is None:
        return _Reader(Values("(no market file)"), Path()).market({}, price_ratio)
    path = _find(name_or_path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise MarketFileError(f"{path} cannot be read: {exc.strerror}") from exc
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise MarketFileError(f"{path} is not YAML: {exc}") from exc
    return _Reader(Values(str(path)), path.parent).market({} if content is None else content, price_ratio)


def scenario_names() -> list[str]:
    return sorted(path.stem for path in SCENARIOS.glob("*.yaml"))


def _find(name_or_path: str) -> Path:
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = SCENARIOS / f"{name_or_path.removesuffix('.yaml')}.yaml"
    if shipped.is_file():
        return shipped
    raise MarketFileError(
        f"--market {name_or_path}: no such file, and no shipped scenario of that name. "
        f"Give a path, or one of: {', '.join(scenario_names())}."
    )


_RULE_KEYS = {
    "origin", "available", "price_ratio", "launch", "download", "upload", "enforcement_lag",
    "capacity", "trace", "random", "interruptions", "internal_errors", "stalled_uploads", "on_demand",
    "quota",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Reader:
    """Makes a `MarketSpec` from the content of the YAML file. Traces are in `folder`."""

    values: Values
    folder: Path

    def market(self, content: Any, price_ratio: float | None) -> MarketSpec:
        top = self.values.mapping("the file", content, _RULE_KEYS | {"description", "instance_types"})
        start = TypeRule() if price_ratio is None else TypeRule(price_steps=((0.0, price_ratio),))
        types = top.get("instance_types", {})
        general = self._rule("", {k: v for k, v in top.items() if k in _RULE_KEYS}, start)
        if not isinstance(types, dict):
            self.values.complain("instance_types", types, "give a mapping of instance type to its rules")
        for name in types:
            # A test checks the shipped files: the model of SageMaker would double the time of a start.
            if self.folder != SCENARIOS and name not in instance_types():
                self.values.complain(f"instance_types.{name}", types[name], about_instance_type(str(name)))
        return MarketSpec(
            description=str(top.get("description", "")),
            general=general,
            by_type={
                str(name): self._rule(f"instance_types.{name}.", rule, general)
                for name, rule in types.items()
            },
        )

    def _rule(self, where: str, content: Any, base: TypeRule) -> TypeRule:
        rule = self.values.mapping(where.rstrip(".") or "the file", content, _RULE_KEYS)
        changed: dict[str, Any] = {}
        for key in ("launch", "download", "upload", "enforcement_lag"):
            if key in rule:
                changed[f"{key}_seconds"] = self.values.duration(where + key, rule[key])
        if "origin" in rule:
            changed["origin"] = self.values.one_of(where + "origin", rule["origin"], Origin)
        if "available" in rule:
            changed["available"] = self.values.boolean(where + "available", rule["available"])
        if "price_ratio" in rule:
            changed["price_steps"] = self._price(where + "price_ratio", rule["price_ratio"])
        available = bool(changed.get("available", base.available))
        changed |= self._capacity_source(where, rule, default=available)
        if "available" in changed and "spot_changes" not in changed:
            changed["spot_changes"] = None
        if "interruptions" in rule:
            changed["interruptions"] = self._interruptions(where + "interruptions", rule["interruptions"])
        if "internal_errors" in rule:
            changed["internal_errors"] = self._internal_errors(
                where + "internal_errors", rule["internal_errors"]
            )
        if "stalled_uploads" in rule:
            changed["stalled_uploads"] = self._stalled_uploads(
                where + "stalled_uploads", rule["stalled_uploads"]
            )
        changed |= self._on_demand(where + "on_demand", rule.get("on_demand"))
        changed |= self._quota(where + "quota", rule.get("quota"))
        assert set(changed) <= {f.name for f in fields(TypeRule)}  # noqa: S101  (a typo in this code, not in the file)
        return replace(base, **changed)

    def _capacity_source(self, where: str, rule: Mapping[str, Any], *, default: bool) -> dict[str, Any]:
        given = [key for key in ("capacity", "trace", "random") if key in rule]
        if len(given) > 1:
            self.values.complain(
                where + given[1],
                rule[given[1]],
                f"give only one of capacity, trace and random; {given[0]} is given",
            )
        if not given:
            return {}
        key = given[0]
        read = {"capacity": self._read_windows, "trace": self._read_trace, "random": self._read_random}[key]
        return {"spot_changes": read(where + key, rule[key], default)}

    def _read_windows(self, where: str, content: Any, default: bool) -> Callable[[str], Changes]:
        found = []
        for index, entry in enumerate(self.values.entries(where, content)):
            at = f"{where}[{index}]"
            window = self.values.mapping(at, entry, {"from", "to", "available"}, needed={"available"})
            start, end = self._start_and_end(at, window)
            found.append((start, end, self.values.boolean(f"{at}.available", window["available"])))
        return windows(found, default)

    def _start_and_end(self, where: str, window: Mapping[str, Any]) -> tuple[float, float]:
        start = self.values.duration(f"{where}.from", window.get("from", 0))
        end = self.values.duration(f"{where}.to", window["to"]) if "to" in window else float("inf")
        if end <= start:
            self.values.complain(
                f"{where}.to", window["to"], f"give a time after `from` ({window.get('from', 0)})"
            )
        return start, end

    def _read_trace(self, where: str, content: Any, _default: bool) -> Callable[[str], Changes]:
        entry = self.values.mapping(where, content, {"file", "repeat", "skip"}, needed={"file"})
        path = self.folder / str(entry["file"])
        try:
            trace = parse_trace(path.read_text(encoding="utf-8"), source=str(path))
        except OSError as exc:
            self.values.complain(f"{where}.file", entry["file"], f"cannot read {path}: {exc.strerror}", exc)
        except ValueError as exc:
            self.values.complain(f"{where}.file", entry["file"], str(exc), exc)
        skip = self.values.duration(f"{where}.skip", entry.get("skip", 0))
        if skip >= trace.seconds:
            self.values.complain(where, content, f"`skip` must be inside the {len(trace)} ticks")
        repeat = self.values.boolean(f"{where}.repeat", entry.get("repeat", False))
        values = [bool(tick) for tick in trace.ticks]
        return trace_changes(values, gap_seconds=trace.tick_seconds, skip_seconds=skip, repeat=repeat)

    def _read_random(self, where: str, content: Any, _default: bool) -> Callable[[str], Changes]:
        needed = {"seed", "available_for", "away_for"}
        entry = self.values.mapping(where, content, needed, needed=needed)
        means = {
            key: self.values.duration(f"{where}.{key}", entry[key]) for key in ("available_for", "away_for")
        }
        for key, seconds in means.items():
            if seconds <= 0:
                self.values.complain(f"{where}.{key}", entry[key], "give the mean length, above zero")
        return random_changes(
            seed=self.values.integer(f"{where}.seed", entry["seed"]),
            available_for_seconds=means["available_for"],
            away_for_seconds=means["away_for"],
        )

    def _interruptions(self, where: str, content: Any) -> tuple[Interruption, ...]:
        return tuple(
            self._interruption(f"{where}[{i}]", e) for i, e in enumerate(self.values.entries(where, content))
        )

    def _interruption(self, where: str, content: Any) -> Interruption:
        entry = self.values.mapping(where, content, {"after", "after_checkpoints", "job", "away"})
        if ("after" in entry) == ("after_checkpoints" in entry):
            self.values.complain(
                where, content, "give either `after` (time in Training) or `after_checkpoints` (uploads)"
            )
        job = entry.get("job")
        if job is not None and job != "each":
            job = self.values.integer(f"{where}.job", job, at_least=1)
        checkpoints = entry.get("after_checkpoints")
        if checkpoints is not None:
            checkpoints = self.values.integer(f"{where}.after_checkpoints", checkpoints, at_least=1)
        return Interruption(
            after_seconds=self.values.duration(f"{where}.after", entry["after"])
            if "after" in entry
            else None,
            after_checkpoints=checkpoints,
            job=job,
            away_seconds=self.values.duration(f"{where}.away", entry.get("away", 0)),
        )

    def _internal_errors(self, where: str, content: Any) -> tuple[Interruption, ...]:
        errors = []
        for index, entry in enumerate(self.values.entries(where, content)):
            at = f"{where}[{index}]"
            error = self.values.mapping(at, entry, {"after", "job"}, needed={"after"})
            if error.get("job", "each") != "each":
                self.values.complain(f"{at}.job", error["job"], "give `each`, or omit it for the first job")
            seconds = self.values.duration(f"{at}.after", error["after"])
            errors.append(Interruption(after_seconds=seconds, job=error.get("job")))
        return tuple(errors)

    def _stalled_uploads(self, where: str, content: Any) -> tuple[StalledUploads, ...]:
        stalls = []
        for index, entry in enumerate(self.values.entries(where, content)):
            at = f"{where}[{index}]"
            stall = self.values.mapping(at, entry, {"from", "to", "job_names"})
            start, end = self._start_and_end(at, stall)
            job_names = stall.get("job_names", "*")
            problem = about_job_names(str(job_names))
            if problem is not None:
                self.values.complain(f"{at}.job_names", job_names, problem)
            stalls.append(StalledUploads(start_seconds=start, end_seconds=end, job_names=str(job_names)))
        return tuple(stalls)

    def _on_demand(self, where: str, content: Any) -> dict[str, Any]:
        if content is None:
            return {}
        entry = self.values.mapping(where, content, {"capacity", "shortage", "fail_after"})
        changed: dict[str, Any] = {}
        if "capacity" in entry:
            changed["on_demand_changes"] = self._read_windows(f"{where}.capacity", entry["capacity"], True)
        if "shortage" in entry:
            changed["shortage"] = self.values.one_of(f"{where}.shortage", entry["shortage"], Shortage)
        if "fail_after" in entry:
            changed["fail_after_seconds"] = self.values.duration(f"{where}.fail_after", entry["fail_after"])
        return changed

    def _quota(self, where: str, content: Any) -> dict[str, Any]:
        if content is None:
            return {}
        entry = self.values.mapping(where, content, {"spot", "on_demand"})
        return {
            f"{key}_quota": self.values.integer(f"{where}.{key}", value, at_least=0)
            for key, value in entry.items()
        }

    def _price(self, where: str, content: Any) -> tuple[tuple[float, float], ...]:
        if not isinstance(content, list):
            return ((0.0, self.values.ratio(where, content)),)
        steps = []
        for index, entry in enumerate(content):
            step = self.values.mapping(
                f"{where}[{index}]", entry, {"from", "ratio"}, needed={"from", "ratio"}
            )
            start = self.values.duration(f"{where}[{index}].from", step["from"])
            steps.append((start, self.values.ratio(f"{where}[{index}].ratio", step["ratio"])))
        steps.sort()
        if not steps or steps[0][0] > 0:
            self.values.complain(where, content, "give a first step with `from: 0s`")
        return tuple(steps)
