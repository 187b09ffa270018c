"""LightGBM: train some rounds at a time, and continue after the newest model that is whole."""

import argparse
import os
import time
from pathlib import Path

import lightgbm as lgb
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int, default=100)
parser.add_argument("--every", type=int, default=5)
args = parser.parse_args()
folder = Path(os.environ.get("SM_CHECKPOINT_DIR", "/opt/ml/checkpoints"))

rng = np.random.default_rng(0)  # in place of your data
features = rng.normal(size=(2000, 20))
target = features[:, 0] + np.sin(3 * features[:, 1]) + rng.normal(scale=0.1, size=2000)
data = lgb.Dataset(features, target, free_raw_data=False)
parameters = {"bagging_fraction": 0.8, "bagging_freq": 1, "num_threads": 1, "verbosity": -1}


def newest():
    for path in sorted(folder.glob("rounds-*.txt"), reverse=True):
        text = path.read_text()
        if "\npandas_categorical:" in text:  # the last line: LightGBM ends the process on half a model
            return lgb.Booster(model_str=text)
    return None


def save(booster):
    writing = folder / "writing.sagemaker-ignore"
    booster.save_model(writing)
    writing.replace(folder / f"rounds-{booster.current_iteration():06d}.txt")
    for old in sorted(folder.glob("rounds-*.txt"))[:-2]:
        old.unlink()


booster = newest()
done = booster.current_iteration() if booster else 0
print(f"continuing after {done} rounds")
while done < args.rounds:
    seeded = parameters | {"seed": done}  # from the round, not from what was drawn before
    booster = lgb.train(seeded, data, num_boost_round=args.every, init_model=booster)
    done += args.every
    time.sleep(0.3)  # in place of more data
    save(booster)
booster.save_model(Path(os.environ["SM_MODEL_DIR"], "model.txt"))
