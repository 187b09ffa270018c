"""Whether two forests predict the same, for `spot-drill --compare`: pickles of equal models can differ."""

import sys
from pathlib import Path

import joblib
from sklearn.datasets import make_classification

first, second = (joblib.load(Path(folder, "model.joblib")) for folder in sys.argv[1:])
features, _ = make_classification(1000, random_state=0)
differing = (first.predict_proba(features) != second.predict_proba(features)).any(axis=1).sum()
print(f"{differing} of {len(features)} predictions differ")
sys.exit(int(differing > 0))
