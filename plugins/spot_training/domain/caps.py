"""Upper limits for a training, set by the author of the Dag. Templates and params cannot change them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from .errors import AboveCap, InvalidInput
from .json_text import did_you_mean
from .parsing import as_whole_number, in_words, parse_seconds

_NAMES = ("instance_types", "instance_count", "max_runtime", "max_wait", "keep_alive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """Upper limits. None is no limit.

    `instance_types` are names or patterns (`ml.m5.*`). `instance_count` includes all groups of a job and the
    instances of its debugger and profiler rules. `max_runtime_seconds` and `max_wait_seconds` limit
    SageMaker's `StoppingCondition`. `keep_alive_seconds` limits how long instances are kept, and billed, for
    a next job after this one is over (`KeepAlivePeriodInSeconds`).
    """

    instance_types: tuple[str, ...] | None = None
    instance_count: int | None = None
    max_runtime_seconds: int | None = None
    max_wait_seconds: int | None = None
    keep_alive_seconds: int | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any] | None) -> Caps:
        """From the operator's `caps`: `{"instance_types": ["ml.m5.*"], "instance_count": 2,
        "max_runtime": "1d", "max_wait": "3d"}`. Without `keep_alive`, caps allow no keep-alive: nothing else
        limits what it costs. Raises `InvalidInput` for anything else.
        """
        if settings is not None and not isinstance(settings, Mapping):
            raise InvalidInput("caps", settings, 'give a dictionary, like {"instance_count": 2}.')
        if settings is None:
            return NO_CAPS
        left = dict(settings)
        types = left.pop("instance_types", None)
        if types is not None and not _is_list_of_text(types):
            raise InvalidInput("caps.instance_types", types, 'give a list of names, like ["ml.m5.*"].')
        caps = cls(
            instance_types=None if types is None else tuple(types),
            instance_count=_optional(left.pop("instance_count", None), as_whole_number, "instance_count"),
            max_runtime_seconds=_optional(left.pop("max_runtime", None), parse_seconds, "max_runtime"),
            max_wait_seconds=_optional(left.pop("max_wait", None), parse_seconds, "max_wait"),
            keep_alive_seconds=_optional(left.pop("keep_alive", 0), parse_seconds, "keep_alive"),
        )
        if left:
            name, value = next(iter(left.items()))
            way_out = f"caps has {', '.join(_NAMES)}.{did_you_mean(name, _NAMES)}"
            raise InvalidInput(f"caps.{name}", value, way_out)
        return caps

    def check(
        self,
        *,
        instance_types: Iterable[str],
        instance_count: int,
        max_runtime_seconds: int,
        max_wait_seconds: int | None,
        rule_types: Mapping[str, str] = MappingProxyType({}),
        keep_alive_seconds: int = 0,
    ) -> None:
        """Raise `AboveCap` if a job asks for more.

        `rule_types` are the instance types of its rules by field: each rule has its own instance.
        """
        for instance_type in instance_types:
            self._check_type("ResourceConfig.InstanceType", instance_type)
        for field, instance_type in rule_types.items():
            self._check_type(field, instance_type)
        if self.instance_count is not None and instance_count + len(rule_types) > self.instance_count:
            rules = f", including those of its {len(rule_types)} rule(s)" if rule_types else ""
            way_out = f"the Dag allows at most {self.instance_count}{rules}."
            raise AboveCap("ResourceConfig.InstanceCount", instance_count, way_out)
        _check_seconds("StoppingCondition.MaxRuntimeInSeconds", max_runtime_seconds, self.max_runtime_seconds)
        _check_seconds("StoppingCondition.MaxWaitTimeInSeconds", max_wait_seconds, self.max_wait_seconds)
        _check_seconds("ResourceConfig.KeepAlivePeriodInSeconds", keep_alive_seconds, self.keep_alive_seconds)

    def _check_type(self, field: str, instance_type: str) -> None:
        if self.instance_types is None:
            return
        if not any(fnmatchcase(instance_type, pattern) for pattern in self.instance_types):
            way_out = f"the Dag allows {', '.join(self.instance_types) or 'none'}."
            raise AboveCap(field, instance_type, way_out)


NO_CAPS = Caps()


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset) and all(isinstance(item, str) for item in value)


def _optional(value: Any, cast: Any, name: str) -> int | None:
    return None if value is None else int(cast(value, field=f"caps.{name}"))


def _check_seconds(field: str, seconds: int | None, cap: int | None) -> None:
    if seconds is not None and cap is not None and seconds > cap:
        raise AboveCap(field, seconds, f"the Dag allows at most {cap} seconds ({in_words(cap)}).")
