"""The planner, and many walks at once: what needs numpy, and numba where it is installed.

Built on `spot_training.domain` alone. Nothing here is imported unless the planner, the advisor or the
benchmark is asked for.
"""
