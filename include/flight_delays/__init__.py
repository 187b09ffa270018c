"""The flight-delay model: its data, its training package, its evaluation, its champion. No Airflow here."""
