"""The savings report: what trainings cost and saved, for the people who pay.

    with Ledger.configured().read() as reader:
        report = report_of(reader, selection, title="Spot trainings", made_at=now)
        to_html(report)                  # a page that stands by itself
        to_csv(reader, selection)        # a line per attempt, in pieces

`facts` asks the ledger, `bill` and `writing` put it into words, `charts` draws, `sending` hands it to a
notifier of Airflow's providers. `training` reports on one training, from its XComs. Only `sending` knows
Airflow: a script or a notebook can use the rest.
"""

from spot_training.domain.records import Totals, TrainingRecord, totals_of

from .bill import sentences
from .facts import GROUPS, Report, Window, report_of
from .table import to_csv
from .training import TrainingReport
from .writing import to_html, to_log, to_mail, to_text

__all__ = [
    "GROUPS",
    "Report",
    "Totals",
    "TrainingRecord",
    "TrainingReport",
    "Window",
    "report_of",
    "sentences",
    "to_csv",
    "to_html",
    "to_log",
    "to_mail",
    "to_text",
    "totals_of",
]
