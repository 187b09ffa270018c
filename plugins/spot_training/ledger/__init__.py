"""The ledger: one record per training task, in durable storage.

    ledger = Ledger.configured()            # [spot_training] ledger, a folder by default, or any storage URL
    ledger.write(record)                    # replaces the record of the same key, and nothing else
    take_note(key, snapshot)                # what AWS says of the running job, for the page; never waits
    with ledger.read() as reader:           # one consistent view, for reports, page and advisor
        reader.totals(Selection(dag_ids=("retrain",)))
        reader.records(Selection(states=("running",)), limit=50)
        reader.query("SELECT model, sum(saved_usd) FROM trainings GROUP BY model")
    ledger.compact()                        # merge small files into Parquet, one file per month

`docs/ledger.md` describes the files and their columns. Needs fsspec and DuckDB. Needs Airflow only to find
the configured place.
"""

from .reader import LedgerReader
from .selection import Selection
from .store import Ledger, note_live, take_note

__all__ = ["Ledger", "LedgerReader", "Selection", "note_live", "take_note"]
