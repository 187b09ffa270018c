"""CatBoost: its own snapshots. It renames each, and checks it before it continues."""

import argparse
import os
import time
from pathlib import Path

import numpy as np
from catboost import CatBoostRegressor

parser = argparse.ArgumentParser()
parser.add_argument("--iterations", type=int, default=100)
args = parser.parse_args()
folder = Path(os.environ.get("SM_CHECKPOINT_DIR", "/opt/ml/checkpoints"))

rng = np.random.default_rng(0)  # in place of your data
features = rng.normal(size=(2000, 20))
target = features[:, 0] + np.sin(3 * features[:, 1]) + rng.normal(scale=0.1, size=2000)


class Pause:
    def after_iteration(self, info):
        time.sleep(0.06)  # in place of more data
        return True


model = CatBoostRegressor(
    iterations=args.iterations,
    random_seed=0,
    thread_count=1,
    save_snapshot=True,
    snapshot_file=folder / "snapshot",  # a relative name is in train_dir, which nobody uploads
    snapshot_interval=1,  # in seconds: 600, if nothing is given
    train_dir="/tmp/catboost",
    verbose=20,
)
model.fit(features, target, callbacks=[Pause()])
model.save_model(Path(os.environ["SM_MODEL_DIR"], "model.cbm"))
