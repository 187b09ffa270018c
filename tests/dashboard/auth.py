"""An auth manager for the tests: Airflow's simple one, with a `guest` who may read one Dag only."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

GUEST = "guest"
GUEST_DAGS = frozenset({"predict_churn"})


class GuestAuthManager(SimpleAuthManager):
    """Airflow asks it Dag by Dag, as it asks those of FAB or Keycloak."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, **asked: Any) -> bool:
        if user.username == GUEST and (details is None or details.id not in GUEST_DAGS):
            return False
        return super().is_authorized_dag(user=user, details=details, **asked)
