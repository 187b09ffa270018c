"""The errors of the local stack.

RuntimeError
└── LocalStackError            a process did not start, or ended
    ├── StackInUseError        another stack lives in this state folder
    ├── PortTakenError         somebody was faster; the stack picks another port and tries again
    ├── StackTimeoutError      a condition did not come true in time
    ├── MissingProgramError    the machine lacks a program that a service is made of
    └── AirflowApiError        Airflow's REST API said no
"""

from __future__ import annotations


class LocalStackError(RuntimeError):
    """A process of the stack did not start, or ended when it should run."""


class StackInUseError(LocalStackError):
    """Another stack uses this state folder."""


class PortTakenError(LocalStackError):
    """A port that was free a moment ago has been taken by another program."""


class StackTimeoutError(LocalStackError):
    """A condition was not met in time."""


class MissingProgramError(LocalStackError):
    """The machine lacks a program that a service is made of."""


class AirflowApiError(LocalStackError):
    """Airflow's REST API refused a call; `status_code` is the HTTP status."""

    def __init__(self, message: str, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code
