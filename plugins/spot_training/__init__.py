"""Managed spot training on Amazon SageMaker, brought to its end from Apache Airflow."""

from ._moved import keep_old_imports

keep_old_imports()
