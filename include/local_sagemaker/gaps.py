"""What real clients ask of AWS's other services and moto does not know, and how moto's failures are told."""

from __future__ import annotations

from typing import Any

from .protocol import Reply

_FAILURE = "moto, which answers for this service here, failed or has no such operation: see the server's log."


def fill(service: str, app: Any) -> Any:
    """The app moto made for a service, now with what moto lacks there."""
    if service == "iam":
        from moto.iam.responses import IamResponse

        IamResponse.simulate_principal_policy = _allow_everything
    if service == "events":
        from moto.events.utils import EventTemplateParser

        # What a target gets of an event: moto leaves the account out.
        template = EventTemplateParser.DEFAULT_EVENT_INPUT_TEMPLATE
        if "<account>" not in template:
            template = template.replace('"region":', '"account": "<account>", "region":')
            EventTemplateParser.DEFAULT_EVENT_INPUT_TEMPLATE = template
    return app


def _allow_everything(self: Any) -> Any:
    """SimulatePrincipalPolicy, asked by the SageMaker SDK 3.x: IAM is not modelled, all is allowed."""
    from moto.core.responses import ActionResult

    results = [
        {"EvalActionName": action, "EvalResourceName": resource, "EvalDecision": "allowed"}
        for action in self._get_param("ActionNames", [])
        for resource in self._get_param("ResourceArns") or ["*"]
    ]
    return ActionResult({"EvaluationResults": results, "IsTruncated": False})


def failure_reply(*, is_json: bool) -> Reply:
    """An internal failure in the words of the service's protocol, so that a client can read it."""
    if is_json:
        body = f'{{"__type": "InternalFailure", "message": "{_FAILURE}"}}'
        return Reply(status=500, body=body.encode(), content_type="application/json")
    body = (
        "<ErrorResponse><Error><Type>Receiver</Type><Code>InternalFailure</Code>"
        f"<Message>{_FAILURE}</Message></Error></ErrorResponse>"
    )
    return Reply(status=500, body=body.encode(), content_type="text/xml")
