"""SageMaker by botocore: requests, calls, answers and errors. No Airflow, no waiting."""
