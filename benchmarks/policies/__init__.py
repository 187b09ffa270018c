"""The yardstick of the deadline policy: the exact optimum, published baselines, a planner, compiled walks.

No part of the product. It needs numpy, and takes numba where it is installed (`requirements-dev.txt`).

    python benchmarks/policies --traces DIR

compares all of them over recorded capacity (see `compare`).
"""
