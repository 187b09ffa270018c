"""SageMaker's operations that moto answers: which are records, and which only claim that work was done.

moto gives a tuning job a best metric of 1.0, and an endpoint the status InService, without doing anything. A
test that trusts that passes without evidence, so these operations are refused by name unless the user allows
moto's stand-ins. What only stores a description is true, and stays.
"""

from __future__ import annotations

import re
from functools import lru_cache

#: Operations after which moto claims work that nobody did -> what they would do.
CLAIMS_WORK = {
    "CreateAutoMLJobV2": "AutoML",
    "CreateCluster": "clusters",
    "CreateCompilationJob": "compilation",
    "CreateDomain": "Studio domains",
    "CreateEndpoint": "endpoints",
    "CreateFeatureGroup": "feature stores",
    "CreateHyperParameterTuningJob": "tuning",
    "CreateNotebookInstance": "notebook instances",
    "CreateProcessingJob": "processing",
    "CreateTransformJob": "batch transform",
    "StartNotebookInstance": "notebook instances",
    "StartPipelineExecution": "pipelines",
    "UpdateEndpointWeightsAndCapacities": "endpoints",
}
#: Operations that store a description, which others return. Nothing else happens.
STORED_ONLY = (
    "AssociateTrialComponent",
    "CreateDataQualityJobDefinition",
    "CreateEndpointConfig",
    "CreateExperiment",
    "CreateModel",
    "CreateModelBiasJobDefinition",
    "CreateModelCard",
    "CreateModelExplainabilityJobDefinition",
    "CreateModelPackage",
    "CreateModelPackageGroup",
    "CreateModelQualityJobDefinition",
    "CreateNotebookInstanceLifecycleConfig",
    "CreatePipeline",
    "CreateTrial",
    "CreateTrialComponent",
    "UpdateModelCard",
    "UpdateModelPackage",
    "UpdatePipeline",
    "UpdateTrialComponent",
)
#: The error code of a refusal. Clients do not retry it, and take it for no status of a job.
REFUSED = "UnknownOperationException"

_INVOCATION = re.compile(r"/endpoints/[^/]+/(invocations|async-invocations|invocations-response-stream)")


def why_refused(operation: str, *, allows_stand_ins: bool) -> str | None:
    """Why an operation that is not about training jobs is refused; None if moto answers it."""
    if not _moto_has(operation):
        return f"{operation} is not part of the local SageMaker, nor of moto."
    if operation in CLAIMS_WORK and not allows_stand_ins:
        return _refusal(operation, CLAIMS_WORK[operation])
    return None


def why_invocation_refused(method: str, path: str, authorization: str) -> str | None:
    """Why a call of SageMaker's runtime is refused: moto answers each with the text `body`."""
    if method == "POST" and "/sagemaker/aws4_request" in authorization and _INVOCATION.fullmatch(path):
        return _refusal("InvokeEndpoint", "endpoints")
    return None


def _refusal(operation: str, subject: str) -> str:
    return (
        f"{operation} is refused: the local SageMaker has no {subject}. Start it with --stand-ins allow, and "
        "moto pretends that the work was done."
    )


@lru_cache(maxsize=512)
def _moto_has(operation: str) -> bool:
    from moto.core.utils import camelcase_to_underscores
    from moto.sagemaker.responses import SageMakerResponse

    return hasattr(SageMakerResponse, camelcase_to_underscores(operation))
