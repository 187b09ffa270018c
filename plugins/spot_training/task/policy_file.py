"""The installation's own policies, by name: a YAML file named by `[spot_training] policy_file`.

patient:
  name: widen
  first_wait: 8h
two-types:
  - {spot: ml.g5.xlarge, max_wait: 2h}
  - {spot: ml.g5.2xlarge, max_wait: 2h}
  - {on_demand: [ml.g5.xlarge, ml.g5.2xlarge]}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spot_training import settings
from spot_training.domain.errors import InvalidInput
from spot_training.domain.policy_specs import DEADLINE, LADDERS

SETTING = settings.field("policy_file")


def named_policies() -> Mapping[str, Any]:
    """The policies of the file; empty if none is set. Raises `InvalidInput` if it cannot be used."""
    path = settings.text("policy_file")
    return read_policies(Path(path)) if path else {}


def read_policies(path: Path) -> Mapping[str, Any]:
    """Policies by name, as `policy_from` takes them."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput(SETTING, str(path), f"it cannot be read ({error}).") from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise InvalidInput(SETTING, str(path), "give a mapping of names to policies.")
    # A file may be older than the policy `deadline` and define one, which keeps its meaning.
    if taken := sorted(set(content) & set(LADDERS) - {DEADLINE}):
        raise InvalidInput(SETTING, taken[0], "a built-in policy has this name. Choose another.")
    return content
