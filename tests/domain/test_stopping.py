"""The two clocks of a training job."""

from __future__ import annotations

import pytest

from spot_training.domain.errors import InvalidInput, MaxWaitBelowMaxRuntime, WaitTooLongForAlgorithm
from spot_training.domain.stopping import StoppingLimits, check_wait_for_algorithm

KMEANS = "382416733822.dkr.ecr.us-east-1.amazonaws.com/kmeans:1"
XGBOOST = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"


def test_a_wait_equal_to_the_run_time_is_legal() -> None:
    assert StoppingLimits(max_runtime_seconds=100, max_wait_seconds=100).max_wait_seconds == 100


def test_a_wait_below_the_run_time_is_refused() -> None:
    with pytest.raises(MaxWaitBelowMaxRuntime, match=r"is 99: .*at least MaxRuntimeInSeconds \(100\)"):
        StoppingLimits(max_runtime_seconds=100, max_wait_seconds=99)


@pytest.mark.parametrize("seconds", [0, -1, 28 * 86400 + 1])
def test_a_run_time_out_of_range_is_refused(seconds: int) -> None:
    with pytest.raises(InvalidInput, match="MaxRuntimeInSeconds"):
        StoppingLimits(max_runtime_seconds=seconds)


def test_a_built_in_algorithm_without_checkpoints_waits_an_hour_at_most() -> None:
    hour = StoppingLimits(max_runtime_seconds=600, max_wait_seconds=3600)
    longer = StoppingLimits(max_runtime_seconds=600, max_wait_seconds=3601)
    check_wait_for_algorithm(hour, training_image=KMEANS)
    with pytest.raises(WaitTooLongForAlgorithm, match=r"kmeans.*3600"):
        check_wait_for_algorithm(longer, training_image=KMEANS)
    with pytest.raises(WaitTooLongForAlgorithm):
        check_wait_for_algorithm(
            longer, training_image=None, algorithm_name="arn:aws:sagemaker:::algorithm/x"
        )


def test_algorithms_with_checkpoints_and_own_images_have_no_cap() -> None:
    longer = StoppingLimits(max_runtime_seconds=600, max_wait_seconds=86400)
    check_wait_for_algorithm(longer, training_image=XGBOOST)
    check_wait_for_algorithm(longer, training_image="my-registry.example/kmeans-of-mine:3")
    check_wait_for_algorithm(StoppingLimits(max_runtime_seconds=600), training_image=KMEANS)
