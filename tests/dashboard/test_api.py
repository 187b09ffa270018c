"""Whatever its OpenAPI allows, and what it does not, the JSON API answers as it says it does."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import Site

schemathesis = pytest.importorskip("schemathesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

OPERATIONS = (
    "get_now",
    "get_overview",
    "list_trainings",
    "get_experience",
    "get_choices",
    "get_training",
    "get_installation",
)


def _headers(site: Site) -> dict[str, str]:
    return {"Authorization": f"Bearer {site.token('guest')}"}


@pytest.fixture(scope="module")
def description(site: Site) -> dict[str, Any]:
    """The API by its own description, which needs the login too."""
    described: dict[str, Any] = httpx.get(f"{site.page}api/openapi.json", headers=_headers(site)).json()
    return described


def _cases(description: dict[str, Any], operation_id: str, base_url: str) -> Any:
    """Requests that fit the description of an operation, and some that do not."""
    schema = schemathesis.openapi.from_dict(description)
    schema.config.update(base_url=base_url)
    operation = schema.find_operation_by_id(operation_id)
    modes = schemathesis.GenerationMode
    return st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_the_api_answers_as_its_description_says(
    site: Site, description: dict[str, Any], operation_id: str
) -> None:
    @settings(
        max_examples=25,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=_cases(description, operation_id, site.page.rstrip("/")))
    def ask(case: Any) -> None:
        # In a query everything is text: what is no text for a schema is some for the server.
        case.call_and_validate(headers=_headers(site), excluded_checks=[checks.negative_data_rejection])

    ask()


def test_the_description_names_every_figure_and_every_refusal(description: dict[str, Any]) -> None:
    operations = {
        operation["operationId"]: operation
        for path in description["paths"].values()
        for operation in path.values()
    }
    assert set(operations) == set(OPERATIONS)
    for operation in operations.values():
        assert {"200", "401", "403"} <= set(operation["responses"])
        assert operation["security"]
    assert {"Now", "NowRow", "Month", "Overview", "Totals", "Timeline", "TrainingRow"} <= set(
        description["components"]["schemas"]
    )
