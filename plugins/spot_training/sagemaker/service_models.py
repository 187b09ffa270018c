"""AWS's service models as botocore reads them from its files: once in a process, for all clients.

Each boto3 session reads them again: 25,000 Python objects for the endpoints, and 45,000 for SageMaker, of
which this package calls six operations. A host's garbage collector visits them all, and in a triggerer
nothing else happens meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.loaders import Loader, create_loader, instance_cache
from botocore.model import ServiceModel

from spot_training.process import PerProcess

if TYPE_CHECKING:
    from boto3.session import Session

#: What is called on SageMaker's clients. A client has no other operations.
OPERATIONS = frozenset(
    {
        "AddTags",
        "CreateTrainingJob",
        "DescribeTrainingJob",
        "ListTags",
        "ListTrainingJobs",
        "StopTrainingJob",
    }
)


class _SharedLoader(Loader):
    @instance_cache
    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        model = super().load_service_model(service_name, type_name, api_version)
        if (service_name, type_name) == ("sagemaker", "service-2"):
            _keep_only(model, OPERATIONS)
        return model


_loaders: PerProcess[_SharedLoader] = PerProcess()
_sagemaker: PerProcess[ServiceModel] = PerProcess()


@contextmanager
def sharing_service_models(session: Session) -> Iterator[None]:
    """Let the clients made in the block use the models that the process has read.

    Not those made later: with an Airflow session factory of its own, a process may share the session.
    """
    core = session._session  # noqa: SLF001 - boto3 has no public way to the session it is made of
    own = core.get_component("data_loader")
    core.register_component("data_loader", _loader(core.get_config_variable("data_path")))
    try:
        yield
    finally:
        core.register_component("data_loader", own)


def sagemaker_model() -> ServiceModel:
    """SageMaker's model, with `OPERATIONS` only."""
    return _sagemaker.get(
        lambda: ServiceModel(_loader(None).load_service_model("sagemaker", "service-2"), "sagemaker")
    )


def _loader(data_path: str | None) -> _SharedLoader:
    """The loader for `AWS_DATA_PATH`, which a profile may set, too."""

    def make() -> _SharedLoader:
        loader = _SharedLoader()
        loader.search_paths[:] = create_loader(data_path).search_paths
        return loader

    return _loaders.get(make, key=data_path)


def _keep_only(model: dict[str, Any], operations: Collection[str]) -> None:
    model["operations"] = {name: model["operations"][name] for name in operations}
    needed: set[str] = set()
    ahead = set(_shapes_of(model["operations"]))
    while ahead:
        needed |= ahead
        ahead = {name for shape in ahead for name in _shapes_of(model["shapes"][shape])} - needed
    model["shapes"] = {name: model["shapes"][name] for name in needed}


def _shapes_of(description: Any) -> Iterator[str]:
    """The names of the shapes that a part of a model refers to."""
    if isinstance(description, dict):
        if isinstance(name := description.get("shape"), str):
            yield name
        for value in description.values():
            yield from _shapes_of(value)
    elif isinstance(description, list):
        for value in description:
            yield from _shapes_of(value)
