"""The spot drill: runs a training script on a local SageMaker of its own, undisturbed and interrupted, and
says whether it can run on managed spot training.

    plan      what to run, read from text; raises `BadPlanError`
    watch     what happens in a checkpoint folder, as events
    run       runs the plan, through boto3, on real processes
    observe   what the events of one run mean; pure
    evidence  what one interrupted run shows about resuming; pure
    verdict   the answers, what they add up to, and the exit status; pure
    facts     what the answers share; pure
    core      resume, torn checkpoint, SIGKILL: what was seen, or why it was not, and what to change; pure
    judge     all questions; pure
    command   the command line
    pytest_plugin   the fixtures `spot_drill` and `local_sagemaker`

Imports only what `local_sagemaker` exports; no Airflow, and nothing of the training scripts.
"""
