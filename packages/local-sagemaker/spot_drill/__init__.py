"""The spot drill: runs a training script on a local SageMaker, undisturbed and interrupted, and says whether
the script can run on managed spot training.

    plan      what to run, read from text; raises `BadPlanError`
    run       which runs a plan needs, and which are repeated
    lab       runs a training job on a local SageMaker in this process, through boto3, and interrupts it
    recorder  records what the container of a job does
    watch     reports what happens in a checkpoint folder, as events
    files     lists, packs and digests files
    contents  tells an append from new content
    observe   what is recorded of the runs; pure
    history   what the events in a checkpoint folder mean; pure
    moments   when a run is interrupted, and when again; pure
    progress  what a second start did again; pure
    evidence  what one interrupted run shows about resuming; pure
    facts     what the answers share; pure
    core      the answers about resuming and SIGKILL; pure
    torn cost model folder   the answers about these; pure
    interruptions   what became of each intended interruption; pure
    judge     the answers to all questions; pure
    verdict   questions, answers, the whole verdict and the exit status; pure
    command   the command line
    pytest_plugin   the fixtures `spot_drill` and `local_sagemaker`

It imports only what `local_sagemaker` exports, and nothing of Airflow or the training scripts.
"""
