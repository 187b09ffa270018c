#!/usr/bin/env python3
"""Looks for known vulnerabilities in the packages that the locks of the images and of the demo pin.

    scripts/audit.py

pip-audit asks the package index's database of advisories, by name and version; nothing of this project is
installed or built. Where that database cannot be reached, it says so and is skipped: exit status 0. A finding
fails: exit status 1. `ACCEPTED` has findings that do not apply, each with its reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: What people run: the images, the local SageMaker and the scripts in it.
LOCKS = ("requirements.lock", "locks/local.lock", "locks/training.lock")
#: An advisory -> why it does not apply here.
ACCEPTED: dict[str, str] = {}
#: A release with known advisories: whether the database answers.
KNOWN = "https://pypi.org/pypi/jinja2/2.4.1/json"
REACH_SECONDS, AUDIT_SECONDS = 10, 300


def is_reachable(open_url: Callable[..., Any] = urllib.request.urlopen) -> bool:
    """Whether the database of advisories answers, and not only a mirror of packages."""
    try:
        with open_url(KNOWN, timeout=REACH_SECONDS) as answer:
            return bool(json.load(answer)["vulnerabilities"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_findings(report: str) -> list[str] | None:
    """Lines about vulnerabilities in pip-audit's JSON; None if it says nothing of any package.

    An index without advisories looks to pip-audit as if each package were unknown, and it finds nothing.
    """
    try:
        packages = json.loads(report)["dependencies"]
        if all("skip_reason" in package for package in packages):
            return None
        return [
            f"{package['name']} {package.get('version')}: {found['id']}, "
            f"fixed in {', '.join(found.get('fix_versions') or ()) or 'no version yet'}"
            for package in packages
            for found in package.get("vulns") or ()
            if not ACCEPTED.keys() & {found["id"], *(found.get("aliases") or ())}
        ]
    except (ValueError, KeyError, TypeError):
        return None


def main(
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run,
    *,
    reaches: Callable[[], bool] = is_reachable,
    make: Sequence[str] = ("bash", "-c", "set -e; source scripts/_setup.sh; spot_setup_audit"),
) -> int:
    if not reaches():
        return _skip("the database of advisories cannot be reached from here")
    try:
        if run(make, cwd=ROOT, timeout=AUDIT_SECONDS, check=False).returncode:
            return _skip("pip-audit could not be installed")
        locks = [word for lock in LOCKS for word in ("--requirement", lock)]
        program = str(ROOT / ".venv-audit" / "bin" / "pip-audit")
        command = [
            program,
            "--disable-pip",
            "--require-hashes",
            "--format",
            "json",
            "--progress-spinner",
            "off",
        ]
        done = run(
            [*command, *locks], cwd=ROOT, capture_output=True, text=True, timeout=AUDIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _skip(f"pip-audit did not end by itself ({type(error).__name__})")
    findings = read_findings(done.stdout)
    if findings is None:
        return _skip(f"pip-audit gave no report: {done.stderr.strip()[-300:]}")
    for line in findings:
        print(f"[audit] {line}")
    print(f"[audit] {len(findings)} known vulnerabilities in {', '.join(LOCKS)}")
    return 1 if findings else 0


def _skip(why: str) -> int:
    print(f"[audit] skipped: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
