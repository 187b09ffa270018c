"""Import paths of 0.1.0: each still works, gives the same names, and says the new path."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings

import pytest

from spot_training._moved import MODULES, NAMES


@pytest.mark.parametrize("old", sorted(MODULES))
def test_an_old_import_path_gives_the_names_of_the_new_one(old: str) -> None:
    sys.modules.pop(f"spot_training.{old}", None)
    new = importlib.import_module(f"spot_training.{MODULES[old]}")
    with pytest.warns(DeprecationWarning, match=f"import spot_training.{MODULES[old]} instead"):
        module = importlib.import_module(f"spot_training.{old}")
    own = {
        name
        for name, value in vars(new).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == new.__name__
    }
    assert own
    for name in own:
        assert getattr(module, name) is getattr(new, name)


@pytest.mark.parametrize("old", sorted(NAMES))
def test_a_name_that_is_called_otherwise_now_is_found_by_its_old_one(old: str) -> None:
    (old_home, old_name), (home, name) = (path.rsplit(".", 1) for path in (old, NAMES[old]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = importlib.import_module(f"spot_training.{old_home}")
    assert getattr(module, old_name) is getattr(importlib.import_module(f"spot_training.{home}"), name)


def test_what_never_was_is_not_found() -> None:
    for name in ("spot_training.aws.none", "spot_training.none", "spot_training.domain.none"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = importlib.import_module("spot_training.aws.jobs")
    with pytest.raises(AttributeError):
        _ = module.none


@pytest.mark.parametrize(
    "line",
    [
        "from spot_training.asking import ask_before_on_demand",
        "from spot_training.hooks import AwsAccess",
        "from spot_training.aws.jobs import TrainingJobs",
        "from spot_training.domain.moves import Mode",
        "from spot_training.domain.errors import OutOfSteps",
        "from spot_training.sweep import main, settle_this_airflow, sweep_this_airflow",
    ],
)
def test_a_line_of_a_dag_file_still_works(line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", line], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_error_for_an_exhausted_ladder_has_its_old_name_too() -> None:
    from spot_training.domain import errors

    with pytest.warns(DeprecationWarning, match="OutOfSteps"):
        old = errors.OutOfRungs
    assert old is errors.OutOfSteps
    with pytest.raises(AttributeError):
        _ = errors.OutOfNothing


def test_a_ladder_may_still_list_its_rungs() -> None:
    from spot_training.domain.ladder import Rung, Step
    from spot_training.domain.policy_specs import Defaults, policy_from

    steps = [{"spot": "ml.m5.xlarge", "max_wait": "2h"}, "on_demand"]
    defaults = Defaults(max_runtime_seconds=3600)
    old, new = policy_from({"rungs": steps}, defaults), policy_from({"steps": steps}, defaults)
    assert old == new == policy_from({"name": "ladder", "rungs": steps}, defaults)
    assert Rung is Step
