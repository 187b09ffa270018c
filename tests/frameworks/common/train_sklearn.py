"""scikit-learn as people commonly write it: warm_start, and joblib.dump over the same file."""

import argparse
import os
import time

import joblib
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier

parser = argparse.ArgumentParser()
parser.add_argument("--n-estimators", type=int, default=200)
parser.add_argument("--checkpoint-dir", default="/opt/ml/checkpoints")
parser.add_argument("--model-dir", default=os.environ.get("SM_MODEL_DIR"))
args = parser.parse_args()

features, target = make_classification(1000, random_state=0)
checkpoint = os.path.join(args.checkpoint_dir, "model.joblib")
if os.path.exists(checkpoint):
    model = joblib.load(checkpoint)
    print(f"resuming with {len(model.estimators_)} trees")
else:
    model = RandomForestClassifier(n_estimators=0, warm_start=True, random_state=0)

while model.n_estimators < args.n_estimators:
    model.n_estimators += 10
    model.fit(features, target)
    time.sleep(0.4)  # in place of more data
    joblib.dump(model, checkpoint)

joblib.dump(model, os.path.join(args.model_dir, "model.joblib"))
