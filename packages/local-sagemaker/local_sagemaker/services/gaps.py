"""Adds to moto what real clients need and moto lacks, and reports moto's own failures."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from local_sagemaker.reply import Reply

_FAILURE = "moto, which answers for this service, failed or has no such operation: see the server's log."


def fill(service: str, app: Any) -> Any:
    """Add what moto lacks to the app that it made for a service."""
    if service == "iam":
        from moto.iam.responses import IamResponse

        IamResponse.simulate_principal_policy = _allow_everything
    if service == "logs" and "streams_by_prefix" not in vars(_logs_response()):
        _logs_response().streams_by_prefix = True
        _logs_response().filter_log_events = _by_prefix(_logs_response().filter_log_events)
    if service == "sagemaker":
        from moto.sagemaker.models import SageMakerModelBackend as Backend

        if "refuses_unknown" not in vars(Backend):
            Backend.refuses_unknown = True
            for name in ("_get_resource_from_arn", "describe_experiment", "describe_feature_group"):
                setattr(Backend, name, _refusing_unknown(getattr(Backend, name)))
    if service == "events":
        from moto.events.utils import EventTemplateParser

        # What a target gets of an event: moto omits the account.
        template = EventTemplateParser.DEFAULT_EVENT_INPUT_TEMPLATE
        if "<account>" not in template:
            template = template.replace('"region":', '"account": "<account>", "region":')
            EventTemplateParser.DEFAULT_EVENT_INPUT_TEMPLATE = template
    return app


def _logs_response() -> Any:
    from moto.logs.responses import LogsResponse

    return LogsResponse


def _by_prefix(filter_log_events: Callable[[Any], str]) -> Callable[[Any], str]:
    """FilterLogEvents with `logStreamNamePrefix`. moto ignores it, and answers with every stream.

    AWS sorts the events of all streams by time, whatever `interleaved` says.
    """

    def answer(self: Any) -> str:
        prefix = self._get_param("logStreamNamePrefix")
        group = self.logs_backend.groups.get(self._get_param("logGroupName"))
        if not prefix or group is None:
            return filter_log_events(self)
        names = [name for name in group.streams if name.startswith(prefix)]
        if not names:
            return json.dumps({"events": [], "searchedLogStreams": []})
        given = self._get_param
        changed = {"logStreamNames": names, "interleaved": True}
        self._get_param = lambda name, if_none=None: changed.get(name, given(name, if_none))
        return filter_log_events(self)

    return answer


def _refusing_unknown(find: Callable[..., Any]) -> Callable[..., Any]:
    """What finds a resource by its name or ARN. moto fails, or finds None, if it does not have it."""

    def find_or_refuse(*args: Any, **kwargs: Any) -> Any:
        from moto.sagemaker.exceptions import ValidationError

        try:
            found = find(*args, **kwargs)
        except (AttributeError, LookupError, ValueError):
            found = None
        if found is None:
            raise ValidationError(message="Requested resource not found.")
        return found

    return find_or_refuse


def _allow_everything(self: Any) -> Any:
    """SimulatePrincipalPolicy, which the SageMaker SDK 3.x calls. It allows everything: there is no IAM."""
    from moto.core.responses import ActionResult

    results = [
        {"EvalActionName": action, "EvalResourceName": resource, "EvalDecision": "allowed"}
        for action in self._get_param("ActionNames", [])
        for resource in self._get_param("ResourceArns") or ["*"]
    ]
    return ActionResult({"EvaluationResults": results, "IsTruncated": False})


def failure_reply(*, is_json: bool) -> Reply:
    """An internal failure in the form of the service's protocol, so that a client can read it."""
    if is_json:
        body = f'{{"__type": "InternalFailure", "message": "{_FAILURE}"}}'
        return Reply(status=500, body=body.encode(), content_type="application/json")
    body = (
        "<ErrorResponse><Error><Type>Receiver</Type><Code>InternalFailure</Code>"
        f"<Message>{_FAILURE}</Message></Error></ErrorResponse>"
    )
    return Reply(status=500, body=body.encode(), content_type="text/xml")
