"""Managed spot training spoken to AWS: the domain and botocore, no Airflow."""
