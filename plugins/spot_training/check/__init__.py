"""`spot-training check`: what the training tasks of Dag files are exposed to, without running the files.

Reads source with `ast` and imports no Airflow. What a file computes at run time is not known here, and is
reported as not checked.
"""
