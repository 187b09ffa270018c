"""Which Airflow this is: with different names, two Airflows never take each other's jobs and records.

Each metadata database has one name. It comes from, in this order:

1. `[spot_training] installation`, where it is set;
2. on Amazon MWAA, the environment's id (`AIRFLOW_ENV_ID`);
3. the Airflow Variable `spot_training_installation`. The plugin makes it when a scheduler, dag-processor or
   triggerer starts (`InstallationListener`), and when the page first needs it. The database accepts only the
   first one, so all components read the same.

It is never kept in a folder, because each pod has its own, nor in a ledger, which two Airflows may share. If
it cannot be read, no job is created. Do not read it while a Dag file is parsed, nor in a trigger.

As a command, `spot-training installation` prints the name and how it was determined.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

from . import settings
from .domain.errors import InstallationUnknown, InvalidInput, SpotTrainingError
from .domain.record_keys import SHARED_NAME

if TYPE_CHECKING:
    from .sagemaker.identity import RunIdentity
    from .training.state import TrainingState

log = logging.getLogger(__name__)

VARIABLE = "spot_training_installation"
SETTING = "[spot_training] installation"
#: Set in every component of an MWAA environment, and in no other Airflow.
MWAA_ENVIRONMENT_ID = "AIRFLOW_ENV_ID"
#: The name must fit into a tag of 256 characters, also with its escapes.
LONGEST_NAME = 100
#: 48 random bits: among a thousand Airflows, two have the same name with a chance of 1 in 500 million.
RANDOM_BYTES = 6
#: How long a process keeps the Variable's value: a change is seen that late.
KNOWN_SECONDS = 60.0
_UNTIL = " until "
#: The database's address that Airflow sets in processes that run tasks and triggers.
_NO_DATABASE = "airflow-db-not-allowed"
_DESCRIPTION = (
    "Distinguishes this Airflow's training jobs and records from another's. Created once; do not copy it to "
    "another Airflow. In a copy of this metadata database, delete it before the scheduler starts."
)


class Source(StrEnum):
    """Where a name comes from."""

    SETTING = SETTING
    MWAA = f"the id of the MWAA environment ({MWAA_ENVIRONMENT_ID})"
    VARIABLE = f"the Airflow Variable {VARIABLE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierName:
    """A name that this Airflow had before, and until when, if that is known."""

    name: str
    until: datetime | None = None

    def __str__(self) -> str:
        return self.name if self.until is None else f"{self.name}{_UNTIL}{self.until.isoformat()}"

    @classmethod
    def parse(cls, text: str) -> EarlierName:
        name, found, moment = text.rpartition(_UNTIL)
        try:
            until = datetime.fromisoformat(moment) if found else None
        except ValueError:
            until = None
        if until is None:
            return cls(name=text)
        return cls(name=name.strip(), until=until if until.tzinfo else until.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """This Airflow. `earlier` are its earlier names: their records count as its own."""

    name: str
    source: Source
    earlier: tuple[EarlierName, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of this Airflow's records, the present one first."""
        return tuple(dict.fromkeys([self.name, *(earlier.name for earlier in self.earlier)]))

    @classmethod
    def parse(cls, text: str, source: Source) -> Installation:
        """Read a name and, separated by commas, earlier names: `mine, old, older until 2026-11-28T10:12Z`.

        Raises `InvalidInput`.
        """
        name, *earlier = (part.strip() for part in text.split(","))
        for each in (name, *earlier):
            if not each or len(each) > LONGEST_NAME:
                raise InvalidInput(
                    SETTING if source is Source.SETTING else str(source),
                    text,
                    f"give a name of 1 to {LONGEST_NAME} characters that no other Airflow in this AWS "
                    "account has. Names that this Airflow had before may follow, separated by commas.",
                )
        return cls(name=name, source=source, earlier=tuple(EarlierName.parse(each) for each in earlier))


# The name ---------------------------------------------------------------------------------------------


def installation() -> str:
    """This Airflow's name. Raises as `this_installation` does."""
    return this_installation().name


def this_installation(*, make: bool = False) -> Installation:
    """Which Airflow this is. With `make`, a server process creates the Variable if there is none.

    Raises `InstallationUnknown`, which a retry may resolve, and `InvalidInput` if the setting is not a name.
    """
    configured = settings.text("installation")
    if configured.strip():
        return Installation.parse(configured, Source.SETTING)
    if environment := os.environ.get(MWAA_ENVIRONMENT_ID, "").strip():
        return Installation(name=environment, source=Source.MWAA)
    return _known.get(lambda: _ask_for_variable(make=make))


def names_of_own_records(name: str) -> tuple[str, ...]:
    """The names of records that count as this Airflow's, `name` (a training's own) first. Never raises."""
    try:
        names = this_installation().names
    except Exception as error:  # noqa: BLE001 - the training's own name is enough
        log.warning("Only records of installation %s count: %s", name, error)
        names = ()
    return tuple(dict.fromkeys([name, *names]))


def _ask_for_variable(*, make: bool) -> Installation:
    """The name in the Variable. Raises `InstallationUnknown` if it cannot be read, whatever the reason."""
    try:
        value = _read_variable(make=make)
    except Exception as error:
        trouble = str(error).partition("\n")[0]
        raise _unknown(f"could not be read ({type(error).__name__}: {trouble})") from error
    if value is None:
        raise _unknown("is not there, or could not be read")
    try:
        return Installation.parse(value, Source.VARIABLE)
    except InvalidInput as error:
        raise _unknown(f"holds no name ({error})") from error


def _unknown(trouble: str) -> InstallationUnknown:
    return InstallationUnknown(f"which Airflow this is: the Airflow Variable {VARIABLE} {trouble}")


class _Known:
    """What this process has read. The Variable is read once in `KNOWN_SECONDS`, after an error every time."""

    def __init__(self) -> None:
        self._kept: tuple[int, float, Installation] | None = None

    def get(self, read: Callable[[], Installation]) -> Installation:
        kept, process, now = self._kept, os.getpid(), time.monotonic()
        if kept is not None and kept[0] == process and now - kept[1] < KNOWN_SECONDS:
            return kept[2]
        found = read()
        self._kept = (process, now, found)
        return found

    def forget(self) -> None:
        self._kept = None


_known = _Known()


# The Variable -----------------------------------------------------------------------------------------


def _read_variable(*, make: bool) -> str | None:
    """The Variable's value, read as this process can. None if it is not there, or cannot be read.

    A task has Airflow's API. In `dag.test()` and `airflow tasks test` the task's process also has the
    database, and a scheduler may never have run: the Variable is created there.
    """
    is_task = _is_task()
    if is_task and (value := _ask_api()) is not None:
        return value
    if not _has_database():
        return None
    return _make_variable() if make or is_task else _read_database()


def _is_task() -> bool:
    runner: Any = sys.modules.get("airflow.sdk.execution_time.task_runner")
    return getattr(runner, "SUPERVISOR_COMMS", None) is not None


def _has_database() -> bool:
    """Whether this process may read the metadata database. One that runs tasks or triggers may not."""
    from airflow.configuration import conf as core_conf

    address: str = core_conf.get("database", "sql_alchemy_conn", fallback="")
    return bool(address) and not address.startswith(_NO_DATABASE)


def _ask_api() -> str | None:
    """The value from Airflow's secrets backends, or else its API. Both only log their errors."""
    from airflow.sdk import Variable

    value = Variable.get(VARIABLE, default=None)
    return None if value is None else str(value)


def _read_database() -> str | None:
    """The value that a server process sees: from the secrets backends, or else the database."""
    from airflow.models.variable import Variable

    value = Variable.get_variable_from_secrets(key=VARIABLE)
    return None if value is None else str(value)


def _make_variable() -> str | None:
    """The Variable's value. It is created if there is none: of several processes that try, one succeeds."""
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from sqlalchemy.exc import IntegrityError

    if (value := _read_database()) is not None:
        return value
    try:
        # Not the thread's session: the caller may be in a transaction.
        with create_session(scoped=False) as session:
            if session.scalar(select(Variable.id).where(Variable.key == VARIABLE)) is not None:
                return None  # it is there and cannot be read, for example with another Fernet key
            value = _new_value(session)
            make: Any = Variable
            session.add(make(key=VARIABLE, val=value, description=_DESCRIPTION))
    except IntegrityError:
        return _read_database()
    log.info("This Airflow is installation %s from now on (Airflow Variable %s).", value, VARIABLE)
    return value


def _new_value(session: Any) -> str:
    name = f"{SHARED_NAME}-{secrets.token_hex(RANDOM_BYTES)}"
    if not _has_run_under_shared_name(session):
        return name
    return f"{name}, {EarlierName(name=SHARED_NAME, until=datetime.now(UTC).replace(microsecond=0))}"


def _has_run_under_shared_name(session: Any) -> bool:
    """Whether trainings of 0.1.0 are in this database: their states do not name an installation."""
    from sqlalchemy import select

    from .compat import state_rows
    from .training.state import STATE_KEY

    rows = state_rows()
    if rows is None:  # before Airflow 3.3, where 0.1.0 did not run
        return False
    of_0_1_0 = select(rows.id).where(rows.key == STATE_KEY, rows.value.not_like('%"installation"%'))
    return session.scalar(of_0_1_0.limit(1)) is not None


class InstallationListener:
    """Creates the Variable when one of Airflow's server processes starts, before any task runs."""

    @hookimpl
    def on_starting(self, component: Any) -> None:
        """Act in scheduler, dag-processor and triggerer only: a task's process calls this, too."""
        jobs = sys.modules.get("airflow.jobs.job")
        if jobs is None or not isinstance(component, jobs.Job):
            return
        try:
            this_installation(make=True)
        except Exception as error:  # noqa: BLE001 - Airflow must start; tasks report what is missing
            log.warning("No training job is created until this is solved. %s", error)


# A training's own -------------------------------------------------------------------------------------


def installation_of_training(
    task: RunIdentity,
    state: TrainingState | None,
    *,
    run_began_at: datetime | None = None,
    has_job: Callable[[RunIdentity], bool] = lambda _task: False,
) -> str:
    """The name under which a task's training continues, or begins.

    A training keeps the name it began under: its jobs, tags and record have it. A new training has this
    Airflow's name. But a run that began before the upgrade from 0.1.0 may have lost the state of a running
    job: `has_job` is asked once whether a job has the first name of such a training. Raises as
    `this_installation` does.
    """
    if state is not None:
        return state.installation or _installation_of_0_1_0(task, state)
    this = this_installation()
    for earlier in this.earlier:
        is_older = earlier.until is not None and run_began_at is not None and run_began_at < earlier.until
        if is_older and has_job(replace(task, installation=earlier.name)):
            return earlier.name
    return this.name


def _installation_of_0_1_0(task: RunIdentity, state: TrainingState) -> str:
    """The name in the names of the state's jobs. Without jobs, the name that 0.1.0 used."""
    configured = settings.text("installation")
    candidates = [name for name in (configured, configured.partition(",")[0].strip(), SHARED_NAME) if name]
    jobs = [attempt.job_name for attempt in state.attempts]
    if state.current is not None and not state.current.is_foreign:
        jobs.append(state.current.job_name)
    for name in candidates:
        who = replace(task, installation=name, generation=state.generation)
        if any(who.is_name(job) for job in jobs):
            return name
    return candidates[0]


# The command ------------------------------------------------------------------------------------------


def describe(this: Installation) -> str:
    """The name, and how it was determined, for people."""
    lines = [this.name, f"from {this.source}{_place_of(this.source)}"]
    if this.earlier:
        names = ", ".join(str(earlier) for earlier in this.earlier)
        lines.append(f"records of its earlier names count as its own: {names}")
    return "\n".join(lines)


def _place_of(source: Source) -> str:
    if source is not Source.VARIABLE:
        return ""
    if f"AIRFLOW_VAR_{VARIABLE.upper()}" in os.environ:
        return f" (AIRFLOW_VAR_{VARIABLE.upper()})"
    from airflow import settings
    from sqlalchemy.engine import URL, make_url

    whole = make_url(settings.SQL_ALCHEMY_CONN or "")
    # Without the user and the password.
    place = URL.create(whole.drivername, host=whole.host, port=whole.port, database=whole.database)
    return f" in {place}"


def main(arguments: list[str] | None = None) -> int:
    """Print the name. Returns the exit status."""
    import argparse

    argparse.ArgumentParser(
        prog="spot-training installation",
        description="Print which Airflow this is, and how that was determined. Changes nothing.",
    ).parse_args(arguments)
    try:
        print(describe(this_installation()))
    except SpotTrainingError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
