"""What a job does on its instances: a script with SageMaker's container contract, or simulated work."""
