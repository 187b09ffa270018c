"""Postgres and Redis of a stack: private, restartable, gone with whoever started them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
import redis as redis_client

from include.local_stack import (
    LocalStackError,
    Postgres,
    Redis,
    best_database,
    build_celery_env,
    describe_missing_programs,
)
from include.local_stack.errors import MissingProgramError

needs_programs = pytest.mark.skipif(bool(describe_missing_programs()), reason=describe_missing_programs())


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


@needs_programs
def test_postgres_keeps_what_it_held_over_a_restart_and_over_a_kill(postgres: Postgres) -> None:
    postgres.run_sql("CREATE TABLE kept (number int); INSERT INTO kept VALUES (1)")
    postgres.stop()
    postgres.start()
    postgres.run_sql("INSERT INTO kept VALUES (2)")
    postgres.kill()
    postgres.start()
    assert postgres.run_sql("SELECT sum(number) FROM kept") == "3"


@needs_programs
def test_postgres_cuts_every_client_off_when_told_to(postgres: Postgres) -> None:
    client = psycopg2.connect(f"postgresql{postgres.address}")
    assert postgres.drop_connections() == 1
    with pytest.raises(psycopg2.OperationalError), client.cursor() as cursor:
        cursor.execute("SELECT 1")
    client.close()


@needs_programs
def test_a_statement_postgres_refuses_is_a_clear_error(postgres: Postgres) -> None:
    with pytest.raises(LocalStackError, match=r'psql ended with 1: .*relation "nowhere" does not exist'):
        postgres.run_sql("SELECT * FROM nowhere")


@needs_programs
def test_nobody_gets_in_without_the_password(postgres: Postgres) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(f"postgresql{postgres.address}".replace(postgres.password, "guessed"))
    with Redis() as redis, redis_client.Redis.from_url(redis.url) as client:
        assert client.ping()
        stranger = redis_client.Redis(port=redis.port)
        with stranger, pytest.raises(redis_client.AuthenticationError):
            stranger.ping()
        env = build_celery_env(postgres, redis)
        assert env["AIRFLOW__CELERY__BROKER_URL"] == redis.url


@needs_programs
def test_nothing_is_left_after_use() -> None:
    with Redis() as redis:
        folder, process = redis._folder, redis._process
        assert process is not None
        assert Path(f"/proc/{process.pid}").exists()
    assert not folder.exists()
    assert not Path(f"/proc/{process.pid}").exists()


def test_a_machine_without_the_programs_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "redis-server (Debian: redis-server)" in describe_missing_programs()
    with pytest.raises(MissingProgramError, match=r"redis cannot be started: .* needs .*redis-server"):
        Redis().__enter__()


def test_the_best_database_is_a_private_postgres_or_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    with best_database() as env:
        address = env.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "")
        assert address.startswith("postgresql+psycopg2://") != bool(describe_missing_programs())
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("include.local_stack.services.DEBIAN_CLUSTERS", Path("/nowhere"))
    with best_database() as env:
        assert env == {}
