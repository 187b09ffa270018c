"""What `init` of docker-compose.yaml does before it migrates Airflow's database. It can run again.

Writes the login of Airflow's pages, and creates Celery's user and database with a password of their own.
Workers have that password only, because their tasks must not read Airflow's database.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from sqlalchemy import create_engine, text

CELERY = "celery"


def write_login(path: Path, user: str, password: str) -> None:
    path.touch(mode=0o600)
    path.write_text(json.dumps({user: password}) + "\n")


def prepare_celery_database(airflow_address: str, password: str) -> None:
    if not password.isalnum():  # a statement without parameters, as Postgres wants for a role
        raise SystemExit("CELERY_DB_PASSWORD: use letters and digits only")
    engine = create_engine(airflow_address, isolation_level="AUTOCOMMIT")
    with engine.connect() as database:
        if not database.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": CELERY}):
            database.execute(text(f"CREATE ROLE {CELERY}"))
        database.execute(text(f"ALTER ROLE {CELERY} LOGIN PASSWORD '{password}'"))
        if not database.scalar(text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": CELERY}):
            database.execute(text(f"CREATE DATABASE {CELERY} OWNER {CELERY}"))
        database.execute(text(f"REVOKE CONNECT ON DATABASE {engine.url.database} FROM PUBLIC"))
    engine.dispose()


if __name__ == "__main__":
    write_login(
        Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]),
        os.environ["AIRFLOW_USER"],
        os.environ["AIRFLOW_PASSWORD"],
    )
    prepare_celery_database(
        os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"], os.environ["CELERY_DB_PASSWORD"]
    )
