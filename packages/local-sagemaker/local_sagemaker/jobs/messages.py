"""The texts of a job's transitions, and how each terminal secondary status ends a job.

These are messages of real jobs. Those of Interrupted, Restarting and max pending time are ours: AWS's are not
known.
"""

from __future__ import annotations

from .lifecycle import SecondaryStatus, TrainingStatus

S = SecondaryStatus

STARTING = "Starting the training job"
PREPARING = "Preparing the instances for training"
NO_SPOT = "Insufficient capacity error from EC2 while launching instances, retrying!"
PENDING = "Training job waiting for capacity"
DOWNLOADING = "Downloading input data"
TRAINING = "Training image download completed. Training in progress."
INTERRUPTED = "Training job interrupted: the Spot instances were reclaimed"
RESTARTING = "Restarting the training job after an internal error"
MAX_PENDING_EXCEEDED = "Training job pending time exceeded MaxPendingTimeInSeconds provided"
UPLOADING = "Uploading generated training model"
STOPPING = "Stopping the training job"
ENDINGS = {
    S.COMPLETED: (TrainingStatus.COMPLETED, "Training job completed"),
    S.FAILED: (TrainingStatus.FAILED, "Training job failed"),
    S.STOPPED: (TrainingStatus.STOPPED, "Training job stopped"),
    S.MAX_RUNTIME_EXCEEDED: (
        TrainingStatus.STOPPED,
        "Training job runtime exceeded MaxRuntimeInSeconds provided",
    ),
    S.MAX_WAIT_TIME_EXCEEDED: (
        TrainingStatus.STOPPED,
        "Training job wait time exceeded MaxWaitTimeInSeconds provided",
    ),
}

# Texts of FailureReason.
NO_CAPACITY_FAILURE = (
    "CapacityError: Unable to provision requested ML compute capacity. "
    "Please retry using a different ML instance type."
)
INTERNAL_FAILURE = "InternalServerError: We encountered an internal error. Please try again."
