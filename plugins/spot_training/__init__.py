"""Managed spot training on Amazon SageMaker, brought to its end from Apache Airflow."""
