"""What a job does on its instances: runs a script with SageMaker's container contract, or simulates work."""
