"""The ARN of an IAM role that is given by its name, as the Amazon provider's operator takes it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from spot_training.domain.errors import InvalidInput
from spot_training.domain.parsing import is_left_out

from .calls import Refusal, error_text, for_certain, refusal_of, translated, unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.client import BaseClient

_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_WAY_OUT = "Correct it, or give the role's full ARN, like arn:aws:iam::123456789012:role/SageMakerTraining."


def is_role_name(value: object) -> bool:
    """Whether IAM takes the text as a role's name. An ARN is none: it has colons and a slash.

    Nor is the word `None`, to which a template renders a missing value.
    """
    return isinstance(value, str) and _NAME.fullmatch(value) is not None and not is_left_out(value)


def arn_of_role(name: str, make_client: Callable[[], BaseClient]) -> str:
    """The role's ARN, by `GetRole`. Raises `InvalidInput` if IAM knows no such role or may not be asked."""
    from botocore.exceptions import BotoCoreError, ClientError

    client: Any = make_client()
    try:
        return str(client.get_role(RoleName=name)["Role"]["Arn"])
    except ClientError as error:
        match refusal_of(error):
            case Refusal.NOT_FOUND | Refusal.REQUEST:
                why = f"IAM has no role of this name in the connection's account ({error_text(error)})."
            case Refusal.PERMISSION:
                why = f"AWS denied iam:GetRole, which finds its ARN ({error_text(error)})."
            case _:
                raise for_certain(translated(error, f"GetRole {name}", created_nothing=True)) from error
        raise for_certain(InvalidInput("RoleArn", name, f"{why} {_WAY_OUT}")) from error
    except BotoCoreError as error:
        raise for_certain(unreachable(error, f"GetRole {name}", created_nothing=True)) from error
