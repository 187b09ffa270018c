"""The training jobs: what they are, how they change, and what SageMaker refuses."""
