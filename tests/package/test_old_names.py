"""What Dags and shells of 0.1.0 name: modules, errors, options of a list of steps, commands.

Arguments, policies, settings, keys, columns, tags and addresses: `test_old_interfaces.py`.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import warnings

import pytest

from spot_training._moved import MODULES, NAMES

#: All modules of 0.1.0, by package, but those that left the product: `collector`, and the planner's.
MODULES_OF_0_1_0 = {
    "": "access_terms advise asking base budget_terms deadline_terms hooks kept_state links "
    "operators past_runs policies policy_file sensors sweep training_task triggers",
    "aws": "budget clock driver duty events following identity jobs live_logs logs pace post prices "
    "punctual reports request state sweeper watched watcher windows",
    "dashboard": "access app assets overview rendering source stored timeline",
    "domain": "caps casting deadline durations errors lifecycle moves policy policy_specs record_keys "
    "records savings simulator spells spending stopping traces wording",
    "ledger": "bookkeeping cache compaction manifest notes periods prices reader s3 schema settling store",
    "planner": "advice",
    "report": "bill charts facts sending table writing",
}
#: What the documentation and the Dags of 0.1.0 import.
LINES = """\
from spot_training.advise import advise_on
from spot_training.asking import ask_before_on_demand
from spot_training.aws.identity import RunIdentity
from spot_training.aws.jobs import TrainingJobs
from spot_training.aws.sweeper import Verdict
from spot_training.domain.errors import InvalidInput, InvalidTrace, OutOfRungs
from spot_training.domain.deadline import DeadlineGuard, Runtime, deadline_from, runtime_from
from spot_training.domain.moves import BackToSpot, Decider, Guard, Mode, MovePolicy, Spells, View, Workload
from spot_training.domain.policy import Action, Decision, Ladder, Policy, Rung, Situation
from spot_training.domain.spells import spells_seen
from spot_training.domain.wording import Narrator
from spot_training.hooks import AwsAccess
from spot_training.ledger import Ledger, Selection
from spot_training.ledger.prices import configured_prices
from spot_training.operators import SpotTrainingOperator
from spot_training.policies import POLICIES, policy_named, simulate, workload_from
from spot_training.report import Window, report_of, sentences, to_csv, to_html, to_log
from spot_training.report.sending import Message, NotifierProblem, send
from spot_training.sensors import SpotTrainingSensor
from spot_training.sweep import configured_places, main, settle_all, sweep_all
from spot_training.sweep import settle_this_airflow, sweep_this_airflow
from spot_training.training_task import installation, task_states
from spot_training.triggers import TrainingJobTrigger
""".splitlines()
#: The errors of 0.1.0, by what they are to code that knows none of them.
ERRORS: dict[type[Exception], str] = {
    ValueError: "InvalidInput EmptyValue MaxWaitBelowMaxRuntime WaitTooLongForAlgorithm UnknownPolicy "
    "DeadlineCannotBeKept BudgetSpent AboveCap InvalidTrace",
    RuntimeError: "SweepRefused TrainingNotCompleted OnDemandRefused AlgorithmFailed RequestRefused "
    "MaxRuntimeReached StoppedBySomeone ServiceFailed CredentialsExpired NotOurJob TaskKilled "
    "TimedOutWaiting",
}
#: The commands of 0.1.0 and their options. Those of the local SageMaker are held where its tests are.
COMMANDS = {
    "spot_training.sweep": "--airflow-url --installation --region --stop --ledger",
    "spot_training.advise": "--work --work-high --model --deadline --overhead --max-runtime --check-interval "
    "--deadline-reserve --trace --scenario --history --own-history --instance-type --instance-count --region "
    "--on-demand-price --spot-price --price-ratio --back-to-spot --plot --json",
    "spot_training.installation": "",
}


def _run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        input=stdin,
        env={**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_module_of_0_1_0_is_imported_by_its_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for package, modules in MODULES_OF_0_1_0.items():
            for module in modules.split():
                importlib.import_module(".".join(filter(None, ("spot_training", package, module))))


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


_IN_A_NEW_PACKAGE = """
import sys

for line in sys.stdin:
    for name in [name for name in sys.modules if name.partition(".")[0] == "spot_training"]:
        del sys.modules[name]
    sys.meta_path[:] = [f for f in sys.meta_path if type(f).__module__ != "spot_training._moved"]
    try:
        exec(line)
    except Exception as error:
        print(line.strip(), "->", repr(error))
"""


def test_each_line_that_a_dag_of_0_1_0_imports_with_still_works() -> None:
    """Each as the first line that imports the package."""
    done = _run("-c", _IN_A_NEW_PACKAGE, stdin="\n".join(LINES))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert (
        "from spot_training.nowhere import nothing ->"
        in _run("-c", _IN_A_NEW_PACKAGE, stdin="from spot_training.nowhere import nothing").stdout
    )


@pytest.mark.parametrize("root", ERRORS)
def test_an_error_of_0_1_0_is_caught_as_before(root: type[Exception]) -> None:
    """`OutOfRungs`: below."""
    from spot_training.domain import errors

    for name in ERRORS[root].split():
        error = getattr(errors, name)
        assert issubclass(error, errors.SpotTrainingError)
        assert issubclass(error, root)


def test_the_error_for_an_exhausted_ladder_has_its_old_name_too() -> None:
    from spot_training.domain import errors

    with pytest.warns(DeprecationWarning, match="OutOfSteps"):
        old = errors.OutOfRungs
    assert old is errors.OutOfSteps
    with pytest.raises(AttributeError):
        _ = errors.OutOfNothing


def test_a_ladder_may_still_list_its_rungs() -> None:
    from spot_training.domain.ladder import Ladder, Rung, Step
    from spot_training.domain.policy_specs import Defaults, policy_from

    steps = [{"spot": "ml.m5.xlarge", "max_wait": "2h"}, "on_demand"]
    defaults = Defaults(max_runtime_seconds=3600)
    old, new = policy_from({"rungs": steps}, defaults), policy_from({"steps": steps}, defaults)
    assert old == new == policy_from({"name": "ladder", "rungs": steps}, defaults)
    assert Rung is Step
    assert Ladder(rungs=new.steps) == new


@pytest.mark.parametrize("module", COMMANDS)
def test_a_command_of_0_1_0_has_its_options_and_its_exit_statuses(module: str) -> None:
    """2 for options that are wrong; for the rest, see below."""
    helped = _run("-m", module, "--help")
    assert helped.returncode == 0, helped.stderr
    assert set(COMMANDS[module].split()) <= set(re.findall(r"--[a-z-]+", helped.stdout))
    assert _run("-m", module, "--no-such-option").returncode == 2


ADVICE = ("--work", "1h", "--scenario", "3h/40m", "--on-demand-price", "1", "--json")


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("spot_training.sweep", "--airflow-url", "http://127.0.0.1:9", "--installation", "mine"), 1),
        (("spot_training.sweep", "--airflow-url", "nowhere"), 2),
        (("spot_training.advise", *ADVICE, "--deadline", "4h"), 0),
        (("spot_training.advise", *ADVICE, "--deadline", "30m"), 2),
        (("spot_training.installation",), 0),
    ],
)
def test_a_command_of_0_1_0_ends_as_before(command: tuple[str, ...], status: int) -> None:
    done = _run("-m", *command)
    assert done.returncode == status, done.stderr
    assert done.stderr if status else done.stdout
