"""The page in Airflow's UI: what spot saved and where waiting hurt, and each training on a timeline.

`timeline` and `overview` turn ledger records into what a page shows, `rendering` into HTML, `app` serves both
behind Airflow's login. Nothing here writes anything, or asks AWS.
"""
