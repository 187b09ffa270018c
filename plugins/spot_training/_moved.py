"""Modules that have moved since 0.1.0: the old import path works, with a `DeprecationWarning`.

An old module is an empty one that looks its names up in the new module, so both have the same classes.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODULES = {
    "access_terms": "task.access",
    "asking": "approval",
    "aws.bounded": "process",
    "aws.budget": "watching.rate_limit",
    "aws.clock": "sagemaker.clock",
    "aws.driver": "training.driver",
    "aws.duty": "watching.periodic",
    "aws.events": "watching.events",
    "aws.following": "watching.following",
    "aws.identity": "sagemaker.identity",
    "aws.jobs": "sagemaker.jobs",
    "aws.live_logs": "watching.live_logs",
    "aws.logs": "sagemaker.logs",
    "aws.pace": "watching.pace",
    "aws.post": "watching.delivery",
    "aws.prices": "sagemaker.prices",
    "aws.punctual": "watching.deadline_stop",
    "aws.reports": "watching.reports",
    "aws.request": "sagemaker.request",
    "aws.state": "training.state",
    "aws.sweeper": "sweep.orphans",
    "aws.watched": "watching.watched",
    "aws.watcher": "watching.watcher",
    "aws.windows": "watching.windows",
    "base": "task.base",
    "budget_terms": "task.budget",
    "deadline_terms": "task.deadline",
    "domain.casting": "domain.parsing",
    "domain.durations": "domain.parsing",
    "domain.moves": "advise.moves",
    "domain.policy": "domain.ladder",
    "domain.simulator": "advise.simulator",
    "domain.spells": "advise.intervals",
    "domain.spending": "domain.budget",
    "domain.stops": "domain.stop_reasons",
    "domain.traces": "advise.traces",
    "domain.wording": "domain.messages",
    "hooks": "connections",
    "kept_state": "task.kept_state",
    "ledger.bookkeeping": "training.recorder",
    "ledger.settling": "sweep.settling",
    "ledger.stops": "ledger.stop_reasons",
    "past_runs": "task.past_runs",
    "planner.advice": "advise.advice",
    "policy_file": "task.policy_file",
    "task_state": "task.task_state",
    "training_task": "task.training",
}
#: Names that are in another module than the rest of theirs, or have another name now.
NAMES = {
    "aws.budget.CallBudget": "watching.rate_limit.RateLimit",
    "aws.budget.shared_budget": "watching.rate_limit.shared_rate_limit",
    "aws.events.Hear": "watching.events.Handle",
    "aws.punctual.Punctual": "watching.deadline_stop.DeadlineStop",
    "aws.watcher.shared_budget": "watching.rate_limit.shared_rate_limit",
    "aws.watcher.shared_watcher": "watching.shared.shared_watcher",
}
#: Folders that are gone. They hold no names, but `from spot_training.aws.jobs import ...` imports them first.
PACKAGES = ("aws", "planner")


class _OldModules(MetaPathFinder, Loader):
    """Comes last on `sys.meta_path`: a module that exists is never hidden."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        package, _dot, old = name.partition(".")
        if package != __package__ or (old not in MODULES and old not in PACKAGES):
            return None
        return ModuleSpec(name, self, is_package=old in PACKAGES)

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__.partition(".")[2]
        if old in PACKAGES:
            return
        new = f"{__package__}.{MODULES[old]}"
        warnings.warn(f"{module.__name__} has moved: import {new} instead.", DeprecationWarning, stacklevel=2)

        def look_up(name: str) -> Any:
            home, today = NAMES.get(f"{old}.{name}", f"{MODULES[old]}.{name}").rsplit(".", 1)
            return getattr(importlib.import_module(f"{__package__}.{home}"), today)

        module.__getattr__ = look_up  # type: ignore[method-assign]


def keep_old_imports() -> None:
    """Let the old import paths work. Does nothing the second time."""
    if not any(isinstance(finder, _OldModules) for finder in sys.meta_path):
        sys.meta_path.append(_OldModules())
