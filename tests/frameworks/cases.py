"""Training scripts of real frameworks, and the verdicts that are true on AWS (why: docs/frameworks.md)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMMON, RECIPES = ROOT / "tests" / "frameworks" / "common", ROOT / "docs" / "recipes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A script of a framework, as people commonly write it or as a recipe."""

    framework: str
    form: str = "common"
    script: Path
    fails: frozenset[str] = frozenset()
    """the questions that fail"""
    may_fail: frozenset[str] = frozenset()
    """what else fails by chance, such as if an interruption comes in the middle of a save"""
    hyperparameters: tuple[str, ...] = ()
    compare: Path | None = None

    def __str__(self) -> str:
        return f"{self.framework} ({self.form})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a drill answered."""

    case: Case
    status: int
    seconds: float
    text: str
    results: dict[str, str] = field(default_factory=dict)

    def list(self, result: str) -> list[str]:
        return [question for question, each in self.results.items() if each == result]

    @property
    def is_true(self) -> bool:
        """Whether the verdict is the true one."""
        failed = set(self.list("fail"))
        if failed == {"runs"} <= self.case.may_fail:
            return self.status == 1  # nothing else is judged
        is_expected = self.case.fails <= failed <= self.case.fails | self.case.may_fail
        return is_expected and self.status == (1 if self.case.fails else 0)


#: The one checkpoint is overwritten: in the middle of that there is none.
_NONE_IN_BETWEEN = frozenset({"resume", "sigkill"})


def _common(framework: str, *fails: str, form: str = "common", **fields: Any) -> Case:
    script = COMMON / f"train_{framework}.py"
    return Case(framework=framework, form=form, script=script, fails=frozenset(fails), **fields)


def _recipe(framework: str, **fields: Any) -> Case:
    return Case(framework=framework, form="recipe", script=RECIPES / f"train_{framework}.py", **fields)


CASES = (
    _common("lightgbm", "resume", "same model", "atomic writes", "torn checkpoint"),
    _recipe("lightgbm"),
    _common("sklearn", "same model", "atomic writes", "torn checkpoint", may_fail=_NONE_IN_BETWEEN),
    _recipe("sklearn", compare=RECIPES / "compare_sklearn.py"),
    _common("xgboost"),
    _recipe("xgboost"),
    _common("catboost"),
    _recipe("catboost"),
    _common("pytorch", "same model", "atomic writes", "torn checkpoint", may_fail=_NONE_IN_BETWEEN),
    _recipe("pytorch"),
    _common("lightning", "same model", "atomic writes", "torn checkpoint", may_fail=_NONE_IN_BETWEEN),
    _recipe("lightning"),
    _common("huggingface", "atomic writes", "torn checkpoint"),
    _recipe("huggingface"),
    _common("keras", "runs"),
    _common(
        "keras",
        *("resume", "atomic writes", "torn checkpoint"),
        form="sub-folder",
        # It removes a folder in which SageMaker makes and removes markers at the same time.
        may_fail=_NONE_IN_BETWEEN | {"runs", "keeps a checkpoint"},
        hyperparameters=("backup-dir=/opt/ml/checkpoints/backup",),
    ),
    _recipe("keras"),
)
FRAMEWORKS = tuple(dict.fromkeys(case.framework for case in CASES))


def drill(case: Case, python: str, folder: Path, *options: str) -> Outcome:
    """Drill the script of a case, on an interpreter that has the framework."""
    report = folder / f"{case}.json"
    command = [sys.executable, "-m", "spot_drill", "--quiet", str(case.script), "--python", python]
    command += ["--json", str(report), "--interrupt-at=60%"]
    command += [f"--hyperparameter={each}" for each in case.hyperparameters]
    if case.compare:
        command += ["--compare", f"{python} {case.compare}"]
    started = time.monotonic()
    done = subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=3600, check=False
    )
    checks = json.loads(report.read_text())["checks"] if report.exists() else []
    return Outcome(
        case=case,
        status=done.returncode,
        seconds=time.monotonic() - started,
        text=done.stdout + done.stderr,
        results={check["question"]: check["result"] for check in checks},
    )
