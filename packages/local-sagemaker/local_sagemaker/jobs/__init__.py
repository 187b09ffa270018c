"""The training jobs: what they are, how they move, and what SageMaker refuses."""
