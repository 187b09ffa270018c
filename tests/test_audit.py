"""The search for known vulnerabilities: findings fail, and no database is a clear skip."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("audit", ROOT / "scripts" / "audit.py")
assert _spec is not None
assert _spec.loader is not None
audit: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(audit)

CLEAN = {"dependencies": [{"name": "boto3", "version": "1.43.56", "vulns": []}]}
FOUND = {"id": "PYSEC-2014-8", "aliases": ["CVE-2014-1402"], "fix_versions": ["2.7.2"]}
VULNERABLE = {"dependencies": [{"name": "jinja2", "version": "2.4.1", "vulns": [FOUND]}]}
#: What pip-audit says with an index that has no advisories: nothing of any package, and no finding.
UNKNOWN = {"dependencies": [{"name": "jinja2", "skip_reason": "Dependency not found on PyPI"}]}


class _Run:
    """`subprocess.run`, for the set-up and for pip-audit."""

    def __init__(self, report: Any, *, setup: int = 0) -> None:
        self.report, self.setup = report, setup
        self.commands: list[list[str]] = []

    def __call__(self, command: Any, **_: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(list(command))
        if len(self.commands) == 1:
            return subprocess.CompletedProcess(command, self.setup)
        if isinstance(self.report, Exception):
            raise self.report
        return subprocess.CompletedProcess(command, 1, stdout=self.report, stderr="no route to host")


@pytest.mark.parametrize(
    ("report", "status", "said"),
    [
        (json.dumps(CLEAN), 0, "0 known vulnerabilities"),
        (json.dumps(VULNERABLE), 1, "jinja2 2.4.1: PYSEC-2014-8, fixed in 2.7.2"),
        ("", 0, "skipped: pip-audit gave no report: no route to host"),
        ("[]", 0, "skipped"),
        (json.dumps(UNKNOWN), 0, "skipped: pip-audit gave no report"),
        (subprocess.TimeoutExpired("pip-audit", 1), 0, "skipped"),
    ],
)
def test_findings_fail_and_no_answer_is_skipped(
    report: Any, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _Run(report)
    assert audit.main(run, reaches=lambda: True) == status
    assert said in capsys.readouterr().out
    assert [lock for lock in audit.LOCKS if lock in run.commands[1]] == list(audit.LOCKS)


def test_without_a_database_nothing_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    run = _Run("")
    assert audit.main(run, reaches=lambda: False) == 0
    assert "skipped: the database of advisories cannot be reached" in capsys.readouterr().out
    assert run.commands == []


def test_a_set_up_that_fails_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main(_Run("", setup=1), reaches=lambda: True) == 0
    assert "skipped: pip-audit could not be installed" in capsys.readouterr().out


def test_a_mirror_of_packages_is_no_database() -> None:
    def answer(text: str) -> Any:
        return lambda *_args, **_how: io.BytesIO(text.encode())

    def refuse(*_args: Any, **_how: Any) -> Any:
        raise OSError

    assert audit.is_reachable(answer('{"vulnerabilities": [{"id": "PYSEC-2014-8"}]}'))
    assert not audit.is_reachable(answer('{"vulnerabilities": []}'))
    assert not audit.is_reachable(answer('{"info": {}}'))
    assert not audit.is_reachable(answer("<html>"))
    assert not audit.is_reachable(refuse)


def test_an_accepted_finding_has_a_reason_and_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(len(reason) > 20 for reason in audit.ACCEPTED.values())
    monkeypatch.setitem(audit.ACCEPTED, "CVE-2014-1402", "only for templates of strangers")
    assert audit.read_findings(json.dumps(VULNERABLE)) == []


def test_every_audited_lock_is_there_and_ci_audits() -> None:
    assert all((ROOT / lock).exists() for lock in audit.LOCKS)
    assert "scripts/audit.py" in (ROOT / ".ci" / "run").read_text()
