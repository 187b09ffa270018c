# Two images from one file: `airflow` for all of Airflow's components, `local-sagemaker` for the local cloud.
# Both install from the locks, so a container holds the very files that the tests ran with.

# slim: without the providers that nothing here uses, and whose versions the lock does not know
FROM apache/airflow:slim-3.3.2-python3.11 AS airflow
COPY requirements.lock /opt/spot/
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement /opt/spot/requirements.lock
COPY --chown=airflow:0 plugins /opt/airflow/plugins
COPY --chown=airflow:0 include /opt/airflow/include
COPY --chown=airflow:0 dags /opt/airflow/dags
# The volumes of these folders take over their owner. Any user of group 0 may write there: see `user` in the compose file.
RUN mkdir -p /opt/airflow/auth /opt/airflow/logs /opt/airflow/reports /opt/airflow/spot_ledger \
    && chmod g+rwX /opt/airflow/auth /opt/airflow/logs /opt/airflow/reports /opt/airflow/spot_ledger
# `include` and `spot_training` import in every component; the triggerer adds neither by itself.
ENV PYTHONPATH=/opt/airflow:/opt/airflow/plugins
# Airflow's own user, by its number, which Kubernetes' runAsNonRoot needs.
USER 50000


FROM python:3.11-slim AS local-sagemaker
# Training scripts run as this user, too. The toolkit installs what their requirements.txt names into .venv-training.
RUN useradd --create-home --uid 50000 sagemaker
COPY locks/local.lock locks/training.lock /opt/spot/locks/
COPY packages /opt/spot/packages
# The compiler is for sagemaker-training, which comes as source; it is gone from the image afterwards.
RUN apt-get update -qq \
    && apt-get install -qq --yes --no-install-recommends gcc libc6-dev \
    && python -m venv /opt/spot/.venv-training \
    && /opt/spot/.venv-training/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement /opt/spot/locks/training.lock \
    && pip install --no-cache-dir --no-deps --require-hashes --requirement /opt/spot/locks/local.lock \
    && pip install --no-cache-dir --no-deps /opt/spot/packages/local-sagemaker \
    && chown -R sagemaker /opt/spot/.venv-training \
    && apt-get purge -qq --yes --auto-remove gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
ENV PYTHONUNBUFFERED=1 \
    LOCAL_SAGEMAKER_PYTHON=/opt/spot/.venv-training/bin/python
WORKDIR /opt/spot
USER sagemaker
EXPOSE 4566
ENTRYPOINT ["local-sagemaker"]
CMD ["--host", "0.0.0.0", "--port", "4566"]
