"""The whole project on one machine, as real processes: for the demo, the tests and the benchmarks."""

from include.local_stack.api import AirflowApi
from include.local_stack.errors import (
    AirflowApiError,
    LocalStackError,
    PortTakenError,
    StackInUseError,
    StackTimeoutError,
)
from include.local_stack.stack import COMPONENTS, DEFAULT_COMPONENTS, LocalStack, Login
from include.local_stack.waiting import wait_until

__all__ = [
    "COMPONENTS",
    "DEFAULT_COMPONENTS",
    "AirflowApi",
    "AirflowApiError",
    "LocalStack",
    "LocalStackError",
    "Login",
    "PortTakenError",
    "StackInUseError",
    "StackTimeoutError",
    "wait_until",
]
