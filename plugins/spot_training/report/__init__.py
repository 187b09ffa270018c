"""The savings report: what trainings cost and saved, for the people who pay.

Makes HTML with charts, CSV and a summary in plain JSON of the ledger's records. Imports no Airflow, so that a
script or a notebook can use it, too.
"""

from spot_training.domain.records import Totals, TrainingRecord, totals_of

from .writing import to_csv, to_html, to_text

__all__ = ["Totals", "TrainingRecord", "to_csv", "to_html", "to_text", "totals_of"]
