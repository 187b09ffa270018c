"""A task's arguments for reaching AWS, checked before the first call. All may come out of templates."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from spot_training.connections import AwsAccess
from spot_training.domain.errors import InvalidInput
from spot_training.domain.parsing import HIDDEN, as_bool, as_region, as_whole_number, is_left_out

#: What Airflow takes as a connection's id.
_CONNECTION = re.compile(r"[\w#!()\-.:/\\]{1,250}")
_QUEUE_WAY_OUT = "give the queue's URL: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME."


class AccessArguments(Protocol):
    """The rendered arguments of an operator or a sensor."""

    aws_conn_id: Any
    region_name: Any
    verify: Any
    botocore_config: Any
    events_queue_url: Any


def access_of(task: AccessArguments) -> AwsAccess:
    """The arguments as `AwsAccess`. Raises `InvalidInput`, naming the field."""
    return AwsAccess(
        aws_conn_id=_connection(task.aws_conn_id),
        region_name=as_region(task.region_name, field="region_name"),
        verify=_verify(task.verify),
        botocore_config=botocore_config_from(task.botocore_config),
        events_queue_url=_queue_url(task.events_queue_url),
    )


def _connection(value: Any) -> str | None:
    if is_left_out(value):
        return None
    if not isinstance(value, str) or not _CONNECTION.fullmatch(value):
        raise InvalidInput(
            "aws_conn_id",
            value,
            "give the name of an Airflow connection, or None for boto3's own credentials.",
        )
    return value


def _verify(value: Any) -> bool | str | None:
    if is_left_out(value):
        return None
    try:
        return as_bool(value, field="verify")
    except InvalidInput:
        if isinstance(value, str) and _is_there(value):
            return value
        raise InvalidInput(
            "verify", value, "give true, false, or the path of a CA bundle that is on this machine."
        ) from None


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _queue_url(value: Any) -> str | None:
    field = "events_queue_url"
    if is_left_out(value):
        return None
    if not isinstance(value, str) or not value.isascii() or any(c.isspace() for c in value.strip()):
        raise InvalidInput(field, value, _QUEUE_WAY_OUT)
    try:
        url = urlsplit(value.strip())
        is_queue = url.scheme in {"https", "http"} and bool(url.hostname) and len(url.path) > 1
        is_queue = is_queue and (url.port is None or url.port > 0)
    except ValueError:
        is_queue = False
    if not is_queue:
        raise InvalidInput(field, value, _QUEUE_WAY_OUT)
    return value.strip()


# botocore's options -----------------------------------------------------------------------------------


def botocore_config_from(value: Any) -> dict[str, Any] | None:
    """Options of botocore's `Config`, their values cast; a mapping, or JSON text of one.

    What botocore would notice only with a first call, or never, is refused here. Raises `InvalidInput`.
    """
    field = "botocore_config"
    if is_left_out(value):
        return None
    options = _from_json(value) if isinstance(value, str) else value
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise InvalidInput(field, HIDDEN, 'give a dictionary of options, like {"read_timeout": 30}.')
    given = {name: option for name, option in options.items() if option is not None}
    cast = {name: _cast(f"{field}.{name}", name, option) for name, option in given.items()}
    _try(cast, field)
    return cast


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _cast(field: str, name: str, value: Any) -> Any:
    cast = _CASTS.get(name)
    return value if cast is None else cast(value, field)


def _try(options: dict[str, Any], field: str) -> None:
    """Whether botocore takes the options, each by itself, so that the error names it."""
    from botocore.config import Config

    for name, value in options.items():
        try:
            Config(**{name: value})
        except Exception as error:
            way_out = "see botocore's Config for the options there are and what they take"
            raise InvalidInput(f"{field}.{name}", HIDDEN, f"{way_out} ({error}).") from error


def _seconds(value: Any, field: str) -> float:
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 < seconds <= 86400:
        raise InvalidInput(field, value, "give seconds, above 0 and up to a day.")
    return seconds


def _count(value: Any, field: str, *, least: int = 1) -> int:
    number = as_whole_number(value, field=field)
    if not least <= number <= 10_000:
        raise InvalidInput(field, value, f"give a whole number from {least} to 10000.")
    return number


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str) or not value.isprintable() or not value.isascii():
        raise InvalidInput(field, value, "give plain text.")
    return value


def _signature(value: Any, field: str) -> Any:
    from botocore import UNSIGNED
    from botocore.auth import AUTH_TYPE_MAPS

    if value is not UNSIGNED and (not isinstance(value, str) or value not in AUTH_TYPE_MAPS):
        raise InvalidInput(field, value, f"known are {', '.join(sorted(AUTH_TYPE_MAPS))}.")
    return value


def _certificate(value: Any, field: str) -> str | tuple[str, ...]:
    paths = (value,) if isinstance(value, str) else value
    is_known = isinstance(paths, list | tuple) and 1 <= len(paths) <= 2
    if not is_known or not all(isinstance(path, str) and _is_there(path) for path in paths):
        raise InvalidInput(
            field, value, "give the path of a certificate, or of it and its key, on this machine."
        )
    return value if isinstance(value, str) else tuple(value)


def _mapping(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInput(field, HIDDEN, "give a dictionary.")
    return dict(value)


def _proxies(value: Any, field: str) -> dict[str, Any]:
    proxies = _mapping(value, field)
    if not all(isinstance(part, str) for pair in proxies.items() for part in pair):
        raise InvalidInput(field, HIDDEN, 'give URLs by scheme, like {"https": "http://proxy:3128"}.')
    return proxies


def _retries(value: Any, field: str) -> dict[str, Any]:
    retries = _mapping(value, field)
    # Retries may be none, attempts must be one at least.
    least = {"max_attempts": 0, "total_max_attempts": 1}
    counts = least.keys() & retries.keys()
    return retries | {name: _count(retries[name], f"{field}.{name}", least=least[name]) for name in counts}


def _flag(value: Any, field: str) -> bool:
    return as_bool(value, field=field)


def _region(value: Any, field: str) -> str | None:
    return as_region(value, field=field)


_CASTS: dict[str, Callable[[Any, str], Any]] = {
    "connect_timeout": _seconds,
    "read_timeout": _seconds,
    "max_pool_connections": _count,
    "retries": _retries,
    "proxies": _proxies,
    "proxies_config": _mapping,
    "s3": _mapping,
    "client_context_params": _mapping,
    "region_name": _region,
    "user_agent": _text,
    "user_agent_extra": _text,
    "user_agent_appid": _text,
    "signature_version": _signature,
    "client_cert": _certificate,
    "defaults_mode": _text,
    "tcp_keepalive": _flag,
    "use_fips_endpoint": _flag,
    "use_dualstack_endpoint": _flag,
    "parameter_validation": _flag,
    "inject_host_prefix": _flag,
    "ignore_configured_endpoint_urls": _flag,
    "endpoint_discovery_enabled": _flag,
    "disable_request_compression": _flag,
}
