"""Whether an endpoint is the local SageMaker, and how fast its clock runs.

Its times and costs are simulated: whatever shows them to people says so, with the words of `describe_clock`.
"""

from __future__ import annotations

import json
import math
import urllib.request
from http.client import HTTPException
from urllib.parse import urlsplit

#: The local SageMaker answers at once. Another server at a custom endpoint must not delay a task.
SECONDS = 3.0


def is_aws(endpoint_url: str) -> bool:
    """Whether the address is AWS's, including its interface endpoints in a private network."""
    host = urlsplit(endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def describe_clock(endpoint_url: str) -> str | None:
    """`local cloud, clock x150`, or None where the endpoint is no local SageMaker or does not answer.

    Asks the server, and never AWS. Raises nothing.
    """
    if is_aws(endpoint_url) or urlsplit(endpoint_url).scheme not in {"http", "https"}:
        return None
    address = f"{endpoint_url.rstrip('/')}/_local/clock"
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:  # noqa: S310 - http or https
            speed = json.loads(answer.read(1000))["speed"]
    except (OSError, HTTPException, ValueError, TypeError, LookupError):
        return None
    if speed == "max":
        return "local cloud, clock at maximum speed"
    is_number = isinstance(speed, int | float) and not isinstance(speed, bool) and math.isfinite(speed)
    return f"local cloud, clock x{speed:.10g}" if is_number else None
