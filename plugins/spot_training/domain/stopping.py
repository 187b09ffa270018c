"""The two time limits of a training job, as one checked value.

Source: `StoppingCondition` in the SageMaker API reference, "Managed Spot Training" in the developer guide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import InvalidInput, MaxWaitBelowMaxRuntime, WaitTooLongForAlgorithm
from .parsing import in_words

#: SageMaker's default for `MaxRuntimeInSeconds`: one day.
DEFAULT_MAX_RUNTIME_SECONDS = 24 * 3600
#: The documented maximum run time, 28 days. Accounts start with a quota of 5 days.
MAX_RUNTIME_SECONDS = 28 * 24 * 3600
#: The longest wait of a built-in or marketplace algorithm without checkpoints.
MAX_WAIT_WITHOUT_CHECKPOINTS_SECONDS = 3600

#: Repositories of AWS's built-in algorithms that do not checkpoint (developer guide, "Checkpoints").
_ALGORITHMS_WITHOUT_CHECKPOINTS = frozenset(
    {
        "blazingtext",
        "factorization-machines",
        "forecasting-deepar",
        "ipinsights",
        "kmeans",
        "knn",
        "lda",
        "ntm",
        "object2vec",
        "pca",
        "randomcutforest",
        "seq2seq",
        "xgboost",
    }
)
#: Those that do. Like the others, they have no entry point that a job may replace.
_ALGORITHMS_WITH_CHECKPOINTS = frozenset(
    {"image-classification", "linear-learner", "object-detection", "semantic-segmentation"}
)
_ECR_IMAGE = re.compile(r"^\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/(?P<repository>[^:@]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingLimits:
    """`StoppingCondition`: how long a job may train, and, on spot, how long it may wait and train in total.

    `max_wait_seconds` is None for on-demand, for which SageMaker refuses the field.
    """

    max_runtime_seconds: int = DEFAULT_MAX_RUNTIME_SECONDS
    max_wait_seconds: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.max_runtime_seconds <= MAX_RUNTIME_SECONDS:
            raise InvalidInput(
                "StoppingCondition.MaxRuntimeInSeconds",
                self.max_runtime_seconds,
                f"give 1 to {MAX_RUNTIME_SECONDS} seconds (28 days).",
            )
        if self.max_wait_seconds is not None:
            check_covers_running(
                self.max_wait_seconds,
                max_runtime_seconds=self.max_runtime_seconds,
                field="StoppingCondition.MaxWaitTimeInSeconds",
            )


def check_covers_running(wait_seconds: int, *, max_runtime_seconds: int, field: str) -> None:
    """Raise `MaxWaitBelowMaxRuntime`, naming `field`, for a max wait that leaves no time to run."""
    if wait_seconds < max_runtime_seconds:
        raise MaxWaitBelowMaxRuntime(
            field,
            wait_seconds,
            f"it covers waiting and running, so give at least MaxRuntimeInSeconds ({max_runtime_seconds}), "
            f"that is {in_words(max_runtime_seconds)}, or lower MaxRuntimeInSeconds.",
        )


def is_capped_algorithm(training_image: str | None, algorithm_name: str | None = None) -> bool:
    """Whether SageMaker limits the job's max wait to an hour because its algorithm saves no checkpoints.

    True for AWS's built-in algorithms without checkpoints and for algorithms named by `AlgorithmName`
    (your own or the marketplace's: nothing is known about them). Your own images have no such limit.
    """
    if algorithm_name:
        return True
    return _repository_of(training_image) in _ALGORITHMS_WITHOUT_CHECKPOINTS


def is_built_in_algorithm(training_image: str | None, algorithm_name: str | None = None) -> bool:
    """Whether AWS or a marketplace made the algorithm, by its name or its image's repository."""
    is_other = _repository_of(training_image) in _ALGORITHMS_WITH_CHECKPOINTS
    return is_other or is_capped_algorithm(training_image, algorithm_name)


def _repository_of(training_image: str | None) -> str | None:
    match = _ECR_IMAGE.match(training_image or "")
    return match["repository"] if match else None


def check_wait_for_algorithm(
    limits: StoppingLimits, *, training_image: str | None, algorithm_name: str | None = None
) -> None:
    """Raise `WaitTooLongForAlgorithm` if SageMaker would refuse the wait for this algorithm."""
    wait = limits.max_wait_seconds
    if wait is None or wait <= MAX_WAIT_WITHOUT_CHECKPOINTS_SECONDS:
        return
    if is_capped_algorithm(training_image, algorithm_name):
        raise WaitTooLongForAlgorithm(
            "StoppingCondition.MaxWaitTimeInSeconds",
            wait,
            f"the algorithm {algorithm_name or training_image} writes no checkpoints, and SageMaker limits "
            f"the wait of such a job to {MAX_WAIT_WITHOUT_CHECKPOINTS_SECONDS} seconds: lower the wait, or "
            "train on demand.",
        )
