"""LightGBM as people commonly write it: save_model every few rounds, and init_model=the newest file."""

import argparse
import glob
import os
import re
import time

import lightgbm as lgb
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int, default=100)
parser.add_argument("--checkpoint-dir", default="/opt/ml/checkpoints")
parser.add_argument("--model-dir", default=os.environ.get("SM_MODEL_DIR"))
args = parser.parse_args()

rng = np.random.default_rng(0)
features = rng.normal(size=(2000, 20))
target = features[:, 0] + np.sin(3 * features[:, 1]) + rng.normal(scale=0.1, size=2000)


def save_checkpoint(env):
    done = env.iteration + 1
    if done % 5 == 0:
        time.sleep(0.3)  # in place of more data
        env.model.save_model(f"{args.checkpoint_dir}/model_{done}.txt")


checkpoints = glob.glob(f"{args.checkpoint_dir}/model_*.txt")
rounds = [int(re.findall(r"\d+", os.path.basename(path))[0]) for path in checkpoints]
done = max(rounds, default=0)
newest = f"{args.checkpoint_dir}/model_{done}.txt" if done else None
print(f"resuming from {newest}" if newest else "training from scratch")
booster = lgb.train(
    {"objective": "regression", "verbosity": -1, "num_threads": 1},
    lgb.Dataset(features, target),
    num_boost_round=args.rounds - done,
    init_model=newest,
    callbacks=[save_checkpoint],
)
print("evaluating")
time.sleep(1)  # in place of more data
print(np.mean((booster.predict(features) - target) ** 2))
booster.save_model(f"{args.model_dir}/model.txt")
