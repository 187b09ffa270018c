"""One training from start to end: its state, the driver, and the record it leaves. No Airflow."""
