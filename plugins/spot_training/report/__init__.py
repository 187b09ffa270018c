"""The savings report: what trainings cost and saved, for the people who pay.

Reads what the operator and the sensor push into XCom (`attempts`) and writes HTML with charts, CSV and a
summary in plain JSON. Imports no Airflow, so that a script or a notebook can use it, too.
"""

from .records import ReportSummary, TrainingRecord, summarise
from .writing import to_csv, to_html, to_text

__all__ = ["ReportSummary", "TrainingRecord", "summarise", "to_csv", "to_html", "to_text"]
