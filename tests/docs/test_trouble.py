"""What the pages of *Trouble* quote from a log, the page or an error is what the code says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TROUBLE = ROOT / "docs" / "trouble"
#: AWS's and SQLite's own words, which the local SageMaker has as well, or nobody here.
OF_OTHERS = (
    "The account-level service limit",
    "An error occurred (AccessDeniedException)",
    "sqlite3.OperationalError",
    "Insufficient capacity error from EC2",
    "database is locked",
    "Database error",
)
#: The fixed parts of each quotation, in the page's words.
QUOTED = {
    "stuck-in-starting.md": [
        "may wait and run for ",
        " in total",
        " has not answered since ",
        ", still asking",
        "Created training job",
    ],
    "quota.md": [
        " is over: ",
        "quota refused",
        "never started, nothing billed",
        "the account's quota refused ",
        ": next is ",
        "No training job was created",
        "no step is left",
        "Ask AWS Service Quotas for more of this instance type, or lower max_active_runs.",
    ],
    "empty-page.md": [
        "No training of a Dag that you may read matches these filters.",
        "The ledger is the folder ",
        " may run tasks on other machines.",
        "The ledger could not be written (",
        "The training goes on",
        "The figures do not include ",
        "is not installed, and ",
        " needs it. Install it where this process runs: pip install ",
        "It is not known ",
        "Until it is, no training job is created",
        "This page cannot be shown",
        "The figures may be incomplete",
        "There is no record of a training of this task",
        "No trainings",
    ],
    "unknown-dollars.md": [
        " is not known, so no dollars are recorded: ",
        "No price in dollars is known, so costs are instance-hours at the on-demand price.",
        "The dollars do not include ",
        " is not known, so whether it is within the budget of ",
        " is not either (give it in [spot_training] prices_file)",
        ": waiting for spot",
        "The savings do not include ",
        "for which AWS did not report enough.",
    ],
    "on-demand-at-once.md": [
        "the account's quota refused ",
        "SageMaker could not provide ",
        "the last moment for the deadline: ",
        " reserved to start on-demand",
        "the deadline can no longer be met: finish as early as possible",
        "the only step",
        "The config has EnableManagedSpotTraining: False, and the task has a ",
        "Expected training: ",
        "MaxRuntimeInSeconds: no expected_runtime was given and no past run is on record",
    ],
    "database-is-locked.md": ["The ledger could not be written (", "The training goes on", "LedgerBusy"],
    "index.md": ["could NOT be stopped and is still billed", "quota refused", "database is locked"],
}


def _texts_of_the_code() -> str:
    """All text of the package: literals of Python joined as the compiler joins them, and templates."""
    found = []
    for path in (ROOT / "plugins").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.ClassDef):
                found.append(node.name)
    found += [path.read_text() for path in (ROOT / "plugins").rglob("*.j2")]
    return "\n".join(found)


TEXTS = re.sub(r"\s+", " ", _texts_of_the_code())


def _flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("page", sorted(path.name for path in TROUBLE.glob("*.md")))
def test_what_a_page_quotes_is_in_the_code(page: str) -> None:
    text = _flat((TROUBLE / page).read_text())
    for part in QUOTED[page]:
        assert _flat(part) in text, f"{page} does not have {part!r}"
        assert part in OF_OTHERS or _flat(part) in TEXTS, f"the code does not say {part!r}"


@pytest.mark.parametrize("page", sorted(path.name for path in TROUBLE.glob("*.md")))
def test_every_log_on_a_page_is_checked(page: str) -> None:
    """Each line of a log has a part that the code says, or is of others."""
    for block in re.findall(r"^```text\n(.*?)^```", (TROUBLE / page).read_text(), re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            known = (*OF_OTHERS, *(part for part in QUOTED[page] if len(part) > 8))
            assert any(part in line for part in known), line
