"""50 live trainings on one type and on any of two, compared with the simulator. No part of the product.

drawn      what is asked for: trainings, windows of traces, the market file
live       they run on real Airflow, and what happened is kept
compared   the simulator walks the same trainings, and a report compares
"""
