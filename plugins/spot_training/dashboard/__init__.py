"""The page in Airflow's UI: what spot saved, the waits and interruptions, and a timeline of each training.

`timeline` and `overview` turn ledger records into the facts of a page, `rendering` makes HTML of them, and
`app` serves the pages behind Airflow's login. Nothing here writes to the ledger or calls AWS.
"""
