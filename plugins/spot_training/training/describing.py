"""Describing the training's job: "there is no such job" counts only where the job was made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spot_training.domain.errors import ConnectionChanged

if TYPE_CHECKING:
    from .active import ActiveTraining
    from .state import Intent


def describe(training: ActiveTraining, intent: Intent) -> dict[str, Any] | None:
    """`DescribeTrainingJob`; None is what AWS says again and again, where the job was made.

    A job that is not confirmed yet is simply created again, if there is time: if it exists, its name is
    taken. Raises `ConnectionChanged`.
    """
    jobs = training.jobs
    _check_place(training, intent)
    is_confirmed = intent.is_created or intent.is_foreign
    if not (is_confirmed or training.state.giving_up or training.host.out_of_time()):
        return jobs.describe(intent.job_name)
    description = training.until_sure(lambda: jobs.describe(intent.job_name), is_sure=bool)
    if description is None:
        _check_account(training, intent)
    return description


def _check_place(training: ActiveTraining, intent: Intent) -> None:
    """Refuse a connection that leads to another region, which does not know the job."""
    if training.is_elsewhere(intent):
        raise ConnectionChanged(
            f"Training job {intent.job_name} was created in {intent.region} ({intent.partition}), and the "
            f"connection now leads to {training.jobs.region} ({training.jobs.partition}). This task created "
            "and stopped nothing. If the job is alive, it is billed. Set the connection's region back (or "
            f"give region_name={intent.region!r}) and clear the task: it continues with the job."
        )


def _check_account(training: ActiveTraining, intent: Intent) -> None:
    """Refuse credentials of another account, which get "not found" for every job of the first account."""
    if not intent.account:
        return
    here = training.jobs.account() or training.host.account()
    if here and here != intent.account:
        raise ConnectionChanged(
            f"Training job {intent.job_name} was created in account {intent.account}, and the connection now "
            f"leads to account {here}. This task created and stopped nothing. If the job is alive, it is "
            "billed. Set the connection's credentials back and clear the task: it continues with the job."
        )
