"""The questions, by subject. Each is a function of a run that returns an answer.

A source in the form `owner/repo #N` is an issue or pull request on GitHub; `model` is botocore's service
model; `guide` is the SageMaker developer guide; `none` means that no source is known: what the service does
is recorded.
"""

from __future__ import annotations

from . import billing, checkpoints, container, events, interruption, lifecycle, refusals, wire

GROUPS = tuple(
    module.GROUP
    for module in (wire, refusals, lifecycle, interruption, billing, container, checkpoints, events)
)
CHECKS = tuple(check for group in GROUPS for check in group.checks)
GROUP_NAMES = tuple(group.name for group in GROUPS)
