"""`local-sagemaker conformance`: questions to a SageMaker, this one or AWS's, and how it answers them.

    command   options, the confirmation, signals, exit status
    target    the service that is asked: clients, the pace of calls, how fast its clock runs
    jobs      the training jobs of a run; `requests` has their requests, `cost` what they can cost at most
    probe     the script of these jobs: what a container sees
    runner    carries the jobs out, side by side; `acts` is what it does to them meanwhile
    evidence  what was seen of each job
    checks    the questions, by subject; `check` is what a question consists of
    cleanup   removes everything that has the run's id in its name
    report    the table and the JSON

It is a client of the service, so it imports nothing of the server but its prices and its control API.
"""
