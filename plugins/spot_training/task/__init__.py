"""A training as an Airflow task: its arguments, Airflow's state store, and how the task ends."""
