"""SageMaker's API: AWS JSON 1.1, validation, a handler for each operation, and faults on demand."""
