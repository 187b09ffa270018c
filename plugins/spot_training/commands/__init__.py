"""Commands about trainings, with the page's figures: through Airflow's API, with its users' permissions."""
