"""The plugin for those who copy this folder into Airflow's plugins folder.

Where the package is installed, Airflow finds the plugin by the package's entry point, and this file has none:
Airflow reports a second plugin of the same name as an error.
"""

from __future__ import annotations

from importlib.metadata import entry_points

if not entry_points(group="airflow.plugins", name="spot_training"):
    from spot_training.plugin import SpotTrainingPlugin

    __all__ = ["SpotTrainingPlugin"]
