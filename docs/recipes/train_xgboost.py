"""XGBoost: train some rounds at a time, and continue after the newest model that is whole."""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import xgboost as xgb

parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int, default=100)
parser.add_argument("--every", type=int, default=5)
args = parser.parse_args()
folder = Path(os.environ.get("SM_CHECKPOINT_DIR", "/opt/ml/checkpoints"))

rng = np.random.default_rng(0)  # in place of your data
features = rng.normal(size=(2000, 20))
target = features[:, 0] + np.sin(3 * features[:, 1]) + rng.normal(scale=0.1, size=2000)
data = xgb.DMatrix(features, target)
parameters = {"max_depth": 4, "subsample": 0.8, "nthread": 1}


def newest():
    for path in sorted(folder.glob("rounds-*.json"), reverse=True):
        try:
            return xgb.Booster(model_file=path)
        except xgb.core.XGBoostError:  # with half a .ubj file, the default, XGBoost can end the process
            print(f"{path.name} is torn")  # so try the previous one
    return None


def save(booster):
    writing = folder / "writing.sagemaker-ignore"
    writing.write_bytes(booster.save_raw("json"))
    writing.replace(folder / f"rounds-{booster.num_boosted_rounds():06d}.json")
    for old in sorted(folder.glob("rounds-*.json"))[:-2]:
        old.unlink()


booster = newest()
done = booster.num_boosted_rounds() if booster else 0
print(f"continuing after {done} rounds")
while done < args.rounds:
    seeded = parameters | {"seed": done}  # from the round, not from what was drawn before
    booster = xgb.train(seeded, data, num_boost_round=args.every, xgb_model=booster)
    done += args.every
    time.sleep(0.3)  # in place of more data
    save(booster)
booster.save_model(Path(os.environ["SM_MODEL_DIR"], "model.json"))
