"""Who has spot capacity when, at what price, and which jobs are interrupted.

A market file (YAML) describes spot capacity. Top-level keys apply to every instance type;
`instance_types.<type>` overrides them:

    description: what the file is for
    origin: server-start       # or first-job: when the first spot job that asks for the type is created
    available: true            # spot capacity, unless something below says otherwise
    price_ratio: 0.3           # spot price / on-demand price; or steps, counted from the origin:
                               # [{from: 0m, ratio: 0.3}, {from: 2h, ratio: 0.6}]
    launch: 2m                 # from capacity to Downloading
    download: 1m               # at least; real copying may take longer
    upload: 1m                 # at least
    enforcement_lag: 1m        # how late max runtime and max wait are enforced (AWS: minutes)
    instance_types:
      ml.m5.xlarge:
        capacity:              # windows since the origin; a later entry wins; no `to`: it never ends
          - {from: 0m, to: 90m, available: false}
        interruptions:         # each fires once
          - {after_checkpoints: 3, away: 20m}   # checkpoint uploads in one stretch of training; then there is
                                                # no capacity for 20 minutes (default: it is back at once)
          - {after: 10m, job: 2}                # time in status Training in one stretch
          - {after: 10m, job: each}
        internal_errors:       # each fires once: InternalServerError after that time in status Training,
          - {after: 10m}       # for the first job that gets there, spot or not; or once for each job. A job
          - {after: 2m, job: each}             # with a RetryStrategy restarts as often as that says
        stalled_uploads:       # since the origin: no checkpoint reaches S3 in this time, spot or not
          - {from: 2h, to: 3h, job_names: "churn-*"}   # *, ? and [...] as in a shell; default: every job
        on_demand:
          capacity: [{from: 0m, to: 1h, available: false}]
          shortage: fail       # or wait, the default: Pending until there is capacity
          fail_after: 10m      # how long a job is Pending before CapacityError
        quota: {spot: 0, on_demand: 4}   # instances; more are refused at once with ResourceLimitExceeded

Instead of `capacity`, one of

        # a file {"metadata": {"gap_seconds": n}, "data": [1, 0, ...]}, relative to the market file
        trace: {file: us-east-1a.json, repeat: true, skip: 6h}
        # intervals of exponential length with these means, the first one with capacity
        random: {seed: 7, available_for: 6h, away_for: 45m}

`job` says which job an interruption hits. Without it: the first job of the type that gets that far, once. A
number n: the n-th spot job of the type that got instances. `each`: every job, once. Two entries interrupt a
job twice; the second counts from the restart. Durations are `90s`, `90m`, `2h`, `1d` or plain seconds. The
same file and seed give the same capacity.
"""

from .capacity import Changes, Timeline
from .reader import SCENARIOS, load_market, scenario_names
from .spec import Interruption, MarketSpec, Origin, Shortage, StalledUploads, TypeRule
from .state import Market
from .values import MarketFileError, about_job_names

__all__ = [
    "SCENARIOS",
    "Changes",
    "Interruption",
    "Market",
    "MarketFileError",
    "MarketSpec",
    "Origin",
    "Shortage",
    "StalledUploads",
    "Timeline",
    "TypeRule",
    "about_job_names",
    "load_market",
    "scenario_names",
]
