"""Every column of the ledger is documented, and nothing else is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from spot_training.domain.currencies import COLUMNS as CURRENCY_COLUMNS
from spot_training.ledger.schema import ATTEMPT, COLUMNS
from tests.records import PRICE, make_record

DOCS = Path(__file__).resolve().parents[2] / "docs" / "ledger.md"


@pytest.mark.parametrize(("heading", "columns"), [("a record", COLUMNS), ("an attempt", ATTEMPT)])
def test_every_column_is_documented_in_its_order(heading: str, columns: dict[str, str]) -> None:
    section = DOCS.read_text().split(f"## Columns of {heading}\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(columns)


def test_a_record_has_the_columns_of_the_schema_and_no_other() -> None:
    yuan = replace(PRICE, currency="CNY")
    data = make_record(metrics={"loss": 0.5}, prices=(yuan,)).to_json()
    only_where_there_are_some = {"metrics", *CURRENCY_COLUMNS}
    assert data.keys() - make_record().to_json().keys() == only_where_there_are_some
    assert data.keys() == COLUMNS.keys() - {"unknown"}, "what is unknown has its own members in a small file"
    assert data["attempts"][0].keys() == ATTEMPT.keys()
