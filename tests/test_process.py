"""What a process keeps: one value for each key, and none of it in a forked child."""

from __future__ import annotations

import ast
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from spot_training import compat, connections, process, triggers
from spot_training.ledger import store
from spot_training.process import PerProcess, within
from spot_training.sagemaker import service_models
from spot_training.task import kept_state, task_state
from spot_training.watching import checkpoint_looks, events, rate_limit, shared
from spot_training.watching.shared import shared_watcher

PLUGINS = Path(__file__).parents[1] / "plugins"
#: Everything that is kept, and how it is made: no network.
KEPT: dict[str, tuple[PerProcess[Any], Any]] = {
    "watchers": (shared._kept, lambda: shared_watcher("a connection", lambda: None)),  # type: ignore[arg-type, return-value]
    "rate limit": (rate_limit._shared, rate_limit.shared_rate_limit),
    "events": (events._shared, lambda: events.shared_state_changes("a queue", lambda: None)),  # type: ignore[arg-type, return-value]
    "stopping threads": (triggers._pool, lambda: triggers._stopping().submit(int).result()),
    "questions": (task_state._kept, task_state._questions),
    "accesses": (connections._shared, lambda: connections.AwsAccess().shared()),
    "roles": (connections._roles, lambda: connections._roles.get(lambda: f"role of {os.getpid()}")),
    "event loop": (compat._loops, lambda: compat._loops.get(list)),
    "task states": (kept_state._kept, lambda: kept_state._kept.get(object)),  # type: ignore[arg-type]
    "states before an upgrade": (kept_state._left, lambda: kept_state._left.get(dict)),
    "readers of service models": (service_models._loaders, lambda: service_models._loader(None)),
    "SageMaker's model": (service_models._sagemaker, service_models.sagemaker_model),
    "looks at checkpoints": (checkpoint_looks._shared, checkpoint_looks.shared_looks),
    "clients for them": (
        connections._s3_clients,
        lambda: connections.AwsAccess().checkpoints("s3://bucket/run"),
    ),
    "notes": (store._note_taker, lambda: store.take_note("key", None)),  # type: ignore[arg-type]
}


def _exit_code_of_child(check: Any) -> int:
    child = os.fork()
    if child == 0:  # pragma: no cover
        code = 2
        try:
            code = 0 if check() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", KEPT)
def test_a_forked_child_keeps_nothing_of_its_parents(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "note_live", lambda *_: None)
    kept, use = KEPT[name]
    use()
    parents = dict(kept._values)
    assert parents

    def is_fresh() -> bool:
        if kept._values or kept._lock.locked():
            return False
        use()
        return not any(kept._values.get(key) is value for key, value in parents.items())

    try:
        with kept._lock:  # as a thread that the child does not have may hold it
            assert _exit_code_of_child(is_fresh) == 0
        assert kept._values == parents
    finally:
        kept.forget()


def test_everything_that_is_kept_is_checked_above() -> None:
    assert {id(kept) for kept, _ in KEPT.values()} <= {id(kept) for kept in process._kept}
    made = [
        path
        for path in PLUGINS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("PerProcess")
    ]
    assert len(made) == len(KEPT)


def test_only_the_registry_has_a_fork_hook() -> None:
    """One mechanism: a cache with its own hook would be forgotten in its tests."""
    with_hook = [path for path in PLUGINS.rglob("*.py") if "register_at_fork" in path.read_text()]
    assert [path.name for path in with_hook] == ["process.py"]


def test_threads_that_ask_at_once_get_one_value_for_each_key() -> None:
    kept: PerProcess[object] = PerProcess()
    made: list[object] = []
    start = threading.Barrier(8)

    def make() -> object:
        made.append(object())
        return made[-1]

    def ask(number: int) -> object:
        start.wait(30)
        return kept.get(make, key=number % 2)

    with ThreadPoolExecutor(8) as pool:
        got = set(pool.map(ask, range(8)))
    assert got == set(made)
    assert len(made) == 2


def test_a_value_that_could_not_be_made_is_made_the_next_time() -> None:
    kept: PerProcess[int] = PerProcess()
    with pytest.raises(ZeroDivisionError):
        kept.get(lambda: 1 // 0)
    assert kept.get(lambda: 1) == 1


def test_work_that_takes_too_long_is_not_waited_for() -> None:
    may_end = threading.Event()
    try:
        with pytest.raises(TimeoutError, match="no answer within"):
            within(0.05, lambda: may_end.wait(60))
    finally:
        may_end.set()
    assert within(60, lambda: "done") == "done"
    with pytest.raises(ZeroDivisionError):
        within(60, lambda: 1 // 0)
