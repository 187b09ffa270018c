"""The savings report: what trainings cost and saved.

    with Ledger.configured().read() as reader:
        report = report_of(reader, selection, title="Spot trainings", made_at=now)
        to_html(report)                  # one self-contained HTML page
        to_csv(reader, selection)        # a line per attempt, in pieces

`facts` queries the ledger, `bill` and `writing` write the text, `charts` draws, `links` knows the addresses,
and `sending` passes the report to one of Airflow's notifiers. `training` reports on one training, from its
XComs. Only `sending`, `folder` and `Links.configured` need Airflow: a script or a notebook can use the rest.
"""

from spot_training.domain.records import Totals, TrainingRecord, totals_of

from .bill import headline, sentences
from .facts import GROUPS, Report, Window, report_of
from .jobs import to_jobs_csv
from .links import Links
from .table import to_csv
from .training import TrainingReport
from .writing import to_html, to_log, to_mail, to_text

__all__ = [
    "GROUPS",
    "Links",
    "Report",
    "Totals",
    "TrainingRecord",
    "TrainingReport",
    "Window",
    "headline",
    "report_of",
    "sentences",
    "to_csv",
    "to_html",
    "to_jobs_csv",
    "to_log",
    "to_mail",
    "to_text",
    "totals_of",
]
