"""The spot drill: runs a training script on a local SageMaker of its own, undisturbed and interrupted, and
says whether managed spot training may take its instances away.

    plan      what to run, read from text; raises `BadPlanError`
    watch     what happens in a checkpoint folder, as events
    observe   what the events of one run mean; pure
    run       carries the plan out, through boto3, on real processes
    verdict   what was seen and what to change; pure
    command   the command line

Imports no Airflow and nothing of the training scripts.
"""
