"""A training that ends without a model fails with an error of its ending, and says what can be done."""

from __future__ import annotations

from spot_training.domain.lifecycle import Ending
from spot_training.training.outcome import ERRORS, WHAT_TO_DO


def test_every_ending_but_completed_has_an_error_and_a_way_out() -> None:
    without_a_model = set(Ending) - {Ending.COMPLETED}
    assert ERRORS.keys() == without_a_model
    assert WHAT_TO_DO.keys() == without_a_model
