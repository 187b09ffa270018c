"""The prior that comes with the planner.

Fitted by `market.fit_prior` on eight recorded series of AWS spot capacity (V100 and K80, 2022 and 2023, from
the public collection of "Can't Be Late", NSDI '24): hazards per hour by age of the interval, and how often
each type of market is met.
"""

from __future__ import annotations

from .market import Prior

BUILT_IN_PRIOR = Prior(
    hazards=(
        (0.110, 3.299, 1.207, 1.167, 0.368, 0.283, 0.141, 0.106, 0.067),
        (0.249, 2.614, 1.046, 1.142, 0.437, 0.346, 0.169, 0.139, 0.047),
    ),
    # Rows: the scale of intervals with capacity (0.25, 0.5, 1, 2, 4); columns: of intervals without.
    weights=(
        0.0091,
        0.0126,
        0.0112,
        0.0071,
        0.0124,
        0.0112,
        0.0335,
        0.0738,
        0.0122,
        0.0330,
        0.0102,
        0.0732,
        0.4320,
        0.0088,
        0.0486,
        0.0078,
        0.0238,
        0.0547,
        0.0093,
        0.0342,
        0.0080,
        0.0322,
        0.0284,
        0.0108,
        0.0019,
    ),
)
