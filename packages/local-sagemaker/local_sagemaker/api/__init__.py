"""SageMaker's API: AWS JSON 1.1, validation, one handler for each operation, faults on demand."""
