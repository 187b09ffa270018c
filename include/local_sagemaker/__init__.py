"""A local SageMaker that models managed spot training; everything else of AWS comes from moto, on its port.

    protocol     AWS JSON 1.1: parse, validate against botocore's model, answer, errors
    operations   one handler per operation, in a dispatch table
    rules        what the model cannot say: spot and max wait, names, limits
    store        the training jobs
    engine       a heap of due events that moves the jobs through `spot_training.domain.lifecycle`
    market       who has capacity when, at what price
    container    a script job's processes: /opt/ml, channels, checkpoints, logs, model
    access       refuses what a web page may have sent
    control      /_local/: capacity, interruptions, faults, clock, a page for people

May import `spot_training.domain`; never `spot_training.aws` nor Airflow.
"""
