"""The whole project on one machine, as real processes: for the demo, the tests and the benchmarks."""

from include.local_stack.api import AirflowApi
from include.local_stack.components import COMPONENTS, DEFAULT_COMPONENTS
from include.local_stack.errors import (
    AirflowApiError,
    LocalStackError,
    MissingProgramError,
    PortTakenError,
    StackInUseError,
    StackTimeoutError,
)
from include.local_stack.freezing import Frozen
from include.local_stack.services import (
    CELERY_COMPONENTS,
    Postgres,
    Redis,
    best_database,
    build_celery_env,
    build_database_env,
    describe_missing_programs,
)
from include.local_stack.stack import LocalStack, Login
from include.local_stack.waiting import wait_until

__all__ = [
    "CELERY_COMPONENTS",
    "COMPONENTS",
    "DEFAULT_COMPONENTS",
    "AirflowApi",
    "AirflowApiError",
    "Frozen",
    "LocalStack",
    "LocalStackError",
    "Login",
    "MissingProgramError",
    "PortTakenError",
    "Postgres",
    "Redis",
    "StackInUseError",
    "StackTimeoutError",
    "best_database",
    "build_celery_env",
    "build_database_env",
    "describe_missing_programs",
    "wait_until",
]
