"""Airflow's entry to the package: the declaration, nothing else."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class SpotTrainingPlugin(AirflowPlugin):
    """Managed spot training on Amazon SageMaker."""

    name = "spot_training"
