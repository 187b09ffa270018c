"""The options of `[spot_training]`, typed. Nothing else reads that section of Airflow's configuration.

`provider_info.OPTIONS` describes each option. An option is read each time it is used, and an empty one counts
as not set. Without Airflow (for the sweeper as a command), only the environment variable
`AIRFLOW__SPOT_TRAINING__<NAME>` is read.
"""

from __future__ import annotations

import os

from .domain.errors import InvalidInput
from .domain.parsing import as_bool, is_left_out
from .provider_info import OPTIONS

SECTION = "spot_training"


def text(name: str) -> str:
    """An option as text, "" if it is not set."""
    return _read(name, kind="string")


def flag(name: str) -> bool:
    """An option that is true or false. Raises `InvalidInput` for any other value."""
    return as_bool(_read(name, kind="boolean"), field=field(name))


def number(name: str) -> float:
    """An option that is a number above 0. Raises `InvalidInput` for any other value."""
    value = _read(name, kind="float")
    try:
        read = float(value)
    except ValueError:
        read = 0.0
    if not 0 < read < float("inf"):
        raise InvalidInput(field(name), value, "give a number above 0.")
    return read


def field(name: str) -> str:
    """The name of an option in errors."""
    return f"[{SECTION}] {name}"


def _read(name: str, *, kind: str) -> str:
    option = OPTIONS[name]
    if option["type"] != kind:
        raise TypeError(f"{field(name)} is read as {kind}, but is a {option['type']}.")
    try:
        from .compat import conf
    except ModuleNotFoundError:
        value = os.environ.get(f"AIRFLOW__{SECTION}__{name}".upper(), "")
    else:
        value = str(conf.get(SECTION, name, fallback="") or "")
    return str(option["default"] or "") if is_left_out(value) else value
