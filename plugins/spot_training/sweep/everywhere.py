"""Sweeps and settles in all places: for the command, and for a task of this Airflow."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from spot_training import settings
from spot_training.domain.errors import ServiceFailed, SweepRefused

from .orphans import Verdict, sweep
from .places import configured_places

if TYPE_CHECKING:
    from spot_training.domain.records import TrainingRecord
    from spot_training.ledger import Ledger
    from spot_training.ledger.sweeps import SweepReport
    from spot_training.training.recorder import PriceOf

    from .orphans import Finding, RecordOf, TaskStateOf
    from .places import Places


def stops_orphans() -> bool:
    """`[spot_training] sweeper_stops`: without it the sweeper only reports orphans, whatever it is asked."""
    return settings.flag("sweeper_stops")


def check_may_stop(*, asked: bool, allowed: bool) -> None:
    """Raise `SweepRefused` if orphans are to be stopped and the Airflow does not allow it."""
    if asked and not allowed:
        raise SweepRefused(
            "[spot_training] sweeper_stops is not set, so nothing was stopped: the orphans are only "
            "reported, with the command that stops each by hand. Once you have seen that they are this "
            "Airflow's own, set it (AIRFLOW__SPOT_TRAINING__SWEEPER_STOPS=True) and sweep again."
        )


def sweep_this_airflow(
    *, task_state_of: TaskStateOf, ledger: Ledger, stop: bool, say: Callable[[str], None]
) -> list[Finding]:
    """Do `sweep_all` from a task of this Airflow, wherever its trainings may run.

    Stops orphans if `stop`, and only if `[spot_training] sweeper_stops` is set. Raises as `sweep_all`
    does, and `InstallationUnknown`.
    """
    from spot_training.installation import this_installation

    own, *earlier = this_installation().names
    allowed = stops_orphans()
    findings = sweep_all(
        configured_places(own, ledger, say, earlier=earlier),
        installation=own,
        earlier=earlier,
        task_state_of=task_state_of,
        stop=stop and allowed,
        say=say,
        ledger=ledger,
    )
    check_may_stop(asked=stop, allowed=allowed)
    return findings


def settle_this_airflow(
    *, task_state_of: TaskStateOf, ledger: Ledger, say: Callable[[str], None], price_of: PriceOf
) -> list[TrainingRecord]:
    """Do `settle_all` from a task of this Airflow. Raises as it does, and `InstallationUnknown`."""
    from spot_training.installation import this_installation

    own, *earlier = this_installation().names
    return settle_all(
        configured_places(own, ledger, say, earlier=earlier),
        ledger=ledger,
        installation=own,
        earlier=earlier,
        task_state_of=task_state_of,
        say=say,
        price_of=price_of,
    )


def sweep_all(
    places: Places,
    *,
    installation: str,
    task_state_of: TaskStateOf,
    stop: bool,
    say: Callable[[str], None],
    ledger: Ledger | None = None,
    earlier: Sequence[str] = (),
) -> list[Finding]:
    """Do `sweep` in each place. An error in one place does not protect the orphans of another.

    With a `ledger`, earlier jobs of a running task are distinguished from its current one. Raises
    `ServiceFailed` or `SweepRefused` after all places were looked at.
    """
    from spot_training.ledger.stop_reasons import LedgerStops
    from spot_training.ledger.sweeps import keep_sweep

    findings: list[Finding] = []
    seen: list[Finding] = []
    troubles: dict[str, Exception] = {}
    with contextlib.ExitStack() as stack:
        record_of = _records_in(ledger, say, stack)
        stops = LedgerStops() if ledger is None else LedgerStops(lambda: ledger)
        for place, reach in places.items():
            say(f"In {place}:")
            try:
                findings += sweep(
                    reach(),
                    installation=installation,
                    task_state_of=task_state_of,
                    stop=stop,
                    say=say,
                    record_of=record_of,
                    earlier=earlier,
                    keep_reason=stops.keep,
                    see=seen.append,
                )
            except Exception as error:  # noqa: BLE001 - raised below, after all places
                troubles[place] = error
    if ledger is not None:
        keep_sweep(ledger, installation, _left_by(_each_job_once(seen)))
    if troubles:
        messages = " ".join(f"{place}: {error}" for place, error in troubles.items())
        is_refused = all(isinstance(error, SweepRefused) for error in troubles.values())
        raise (SweepRefused if is_refused else ServiceFailed)(messages)
    return _each_job_once(findings)


def _left_by(findings: Sequence[Finding]) -> SweepReport:
    """The orphans that still run, for the page."""
    from spot_training.ledger.sweeps import OrphanLeft, SweepReport

    return SweepReport(
        at=datetime.now(UTC),
        orphans=tuple(
            OrphanLeft(
                job_name=finding.name,
                reason=finding.reason,
                stop_failed=finding.is_stopped is False,
                dag_id=finding.identity.dag_id,
                run_id=finding.identity.run_id,
                task_id=finding.identity.task_id,
                map_index=finding.identity.map_index,
            )
            for finding in findings
            if finding.verdict is Verdict.ORPHAN and finding.identity and not finding.is_stopped
        ),
    )


def _each_job_once(findings: Sequence[Finding]) -> list[Finding]:
    """Two connections may lead to the same account and region."""
    return list({finding.job.arn if finding.job else finding.name: finding for finding in findings}.values())


def _records_in(ledger: Ledger | None, say: Callable[[str], None], stack: contextlib.ExitStack) -> RecordOf:
    """The ledger's record of a task, as it is now. A ledger that lags only knows less."""
    if ledger is None:
        return lambda _identity: None
    try:
        reader = stack.enter_context(ledger.read())
    except Exception as error:  # noqa: BLE001 - without it jobs are judged by their tasks' states alone
        say(f"The ledger could not be read, so jobs are judged by their tasks' states alone: {error}")
        return lambda _identity: None
    return lambda identity: reader.record(identity.record_key)


def settle_all(
    places: Places,
    *,
    ledger: Ledger,
    installation: str,
    task_state_of: TaskStateOf,
    say: Callable[[str], None],
    price_of: PriceOf,
    earlier: Sequence[str] = (),
) -> list[TrainingRecord]:
    """Settle the ledger from what SageMaker says in each place, then merge it. Returns the changed records.

    A job counts as deleted if no place of its region has it: nothing is settled unless all can be reached.
    """
    from .settling import Settling

    reached = [reach() for reach in places.values()]
    settled: list[TrainingRecord] = []
    for jobs in reached:
        settled += Settling(
            ledger=ledger,
            jobs=jobs,
            elsewhere=tuple(other for other in reached if other is not jobs and other.region == jobs.region),
            installation=installation,
            task_state_of=task_state_of,
            say=say,
            price_of=price_of,
            earlier=tuple(earlier),
        ).settle()
    say(f"{ledger.compact()}.")
    return settled
