"""Waiting for training jobs: one watcher per process and account, which reports every change. No Airflow."""
