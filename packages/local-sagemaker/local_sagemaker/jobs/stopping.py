"""How long a training job may run, and how long it may wait.

Source: `StoppingCondition` in the SageMaker API reference, "Managed Spot Training" in the developer guide.
"""

from __future__ import annotations

import re

#: The default of `MaxRuntimeInSeconds`: one day.
DEFAULT_MAX_RUNTIME_SECONDS = 24 * 3600
#: The documented maximum of `MaxRuntimeInSeconds`: 28 days. New accounts have a quota of 5 days.
MAX_RUNTIME_SECONDS = 28 * 24 * 3600
#: The maximum wait of a built-in or marketplace algorithm without checkpoints.
MAX_WAIT_WITHOUT_CHECKPOINTS_SECONDS = 3600

#: Repositories of AWS's built-in algorithms without checkpoints (developer guide, "Checkpoints").
ALGORITHMS_WITHOUT_CHECKPOINTS = frozenset(
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
_ECR_IMAGE = re.compile(r"^\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/(?P<repository>[^:@]+)")


def is_capped_algorithm(training_image: str | None, algorithm_name: str | None = None) -> bool:
    """Whether SageMaker limits the job's max wait to an hour, because its algorithm has no checkpoints.

    True for AWS's built-in algorithms without checkpoints, and for algorithms named by `AlgorithmName` (your
    own or the marketplace's). Your own images have no such limit.
    """
    if algorithm_name:
        return True
    match = _ECR_IMAGE.match(training_image or "")
    return match is not None and match["repository"] in ALGORITHMS_WITHOUT_CHECKPOINTS
