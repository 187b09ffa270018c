"""What is true of managed spot training: plain values in and out. No Airflow, no boto3, no clock, no I/O."""
