"""What is true of managed spot training, whoever asks: no Airflow, no boto3, no clock, no I/O.

Everything here takes plain values and returns plain values. `aws` and the Airflow shapes build on it,
and so does the local SageMaker, so that the operator and the cloud it is tested against can never
disagree about the words.
"""
