"""CatBoost as people commonly write it: save_snapshot, with the snapshot in the checkpoint folder."""

import argparse
import os
import time

import numpy as np
from catboost import CatBoostRegressor

parser = argparse.ArgumentParser()
parser.add_argument("--iterations", type=int, default=100)
parser.add_argument("--checkpoint-dir", default="/opt/ml/checkpoints")
parser.add_argument("--model-dir", default=os.environ.get("SM_MODEL_DIR"))
args = parser.parse_args()

rng = np.random.default_rng(0)
features = rng.normal(size=(2000, 20))
target = features[:, 0] + np.sin(3 * features[:, 1]) + rng.normal(scale=0.1, size=2000)


class Slow:
    def after_iteration(self, info):
        time.sleep(0.05)  # in place of more data
        return True


model = CatBoostRegressor(
    iterations=args.iterations,
    save_snapshot=True,
    snapshot_file=os.path.join(args.checkpoint_dir, "snapshot"),
    snapshot_interval=1,
    random_seed=0,
    thread_count=1,
    verbose=20,
    train_dir="/tmp/catboost",
)
model.fit(features, target, callbacks=[Slow()])
model.save_model(os.path.join(args.model_dir, "model.cbm"))
