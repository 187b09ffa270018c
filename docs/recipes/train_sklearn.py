"""scikit-learn: add trees with warm_start, and continue with the newest forest that is whole."""

import argparse
import os
import pickle
import time
from pathlib import Path

import joblib
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier

parser = argparse.ArgumentParser()
parser.add_argument("--trees", type=int, default=200)
parser.add_argument("--every", type=int, default=10)
args = parser.parse_args()
folder = Path(os.environ.get("SM_CHECKPOINT_DIR", "/opt/ml/checkpoints"))

features, target = make_classification(1000, random_state=0)  # in place of your data


def newest():
    for path in sorted(folder.glob("trees-*.joblib"), reverse=True):
        try:
            return joblib.load(path)
        except (EOFError, ValueError, pickle.UnpicklingError):
            print(f"{path.name} is torn")  # so try the previous one
    return RandomForestClassifier(n_estimators=0, warm_start=True, random_state=0)


def save(model):
    writing = folder / "writing.sagemaker-ignore"
    joblib.dump(model, writing)
    writing.replace(folder / f"trees-{model.n_estimators:06d}.joblib")
    for old in sorted(folder.glob("trees-*.joblib"))[:-2]:
        old.unlink()


model = newest()
print(f"continuing with {model.n_estimators} trees")
while model.n_estimators < args.trees:
    model.n_estimators += args.every
    model.fit(features, target)
    time.sleep(0.3)  # in place of more data
    save(model)
joblib.dump(model, Path(os.environ["SM_MODEL_DIR"], "model.joblib"))
