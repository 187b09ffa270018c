"""XGBoost with the behaviour of AWS's `checkpointing.train`, which is not on the package index.

Each round is written to a *.sagemaker-ignore file and renamed to xgboost-checkpoint.<round>. The newest is
loaded. The newest five are kept: an older one is deleted when SageMaker does not upload it any more.
"""

import argparse
import os
import re
import tempfile
import time

import numpy as np
import xgboost as xgb

parser = argparse.ArgumentParser()
parser.add_argument("--num-round", type=int, default=40)
parser.add_argument("--checkpoint-dir", default="/opt/ml/checkpoints")
parser.add_argument("--model-dir", default=os.environ.get("SM_MODEL_DIR"))
args = parser.parse_args()

rng = np.random.default_rng(0)
features = rng.normal(size=(2000, 20))
target = features[:, 0] + np.sin(3 * features[:, 1]) + rng.normal(scale=0.1, size=2000)


def list_rounds():
    found = (re.fullmatch(r"xgboost-checkpoint\.(\d+)", name) for name in os.listdir(args.checkpoint_dir))
    return sorted(int(match[1]) for match in found if match)


def path_of(number):
    return os.path.join(args.checkpoint_dir, f"xgboost-checkpoint.{number}")


class SaveCheckpoint(xgb.callback.TrainingCallback):
    def __init__(self, start, keep=5):
        self.next, self.keep, self.old = start, keep, []

    def after_iteration(self, model, epoch, evals_log):
        time.sleep(0.1)  # in place of more data
        with tempfile.NamedTemporaryFile(
            dir=args.checkpoint_dir, suffix=".sagemaker-ignore", delete=False
        ) as file:
            model.save_model(file.name)
        os.rename(file.name, path_of(self.next))
        self.old.append(self.next - self.keep)
        self.next += 1
        self.delete(self.old)
        return False

    def after_training(self, model):
        for number in self.old:
            if os.path.exists(path_of(number)):
                os.remove(path_of(number))
        return model

    def delete(self, numbers):
        for number in list(numbers):
            path = path_of(number)
            is_uploading = os.path.exists(f"{path}.sagemaker-uploading")
            if not is_uploading or os.path.exists(f"{path}.sagemaker-uploaded"):
                numbers.remove(number)
                if os.path.exists(path):
                    os.remove(path)


rounds = list_rounds()
newest = path_of(rounds[-1]) if rounds else None
start = rounds[-1] + 1 if rounds else 0
print(f"Resuming from iteration {start}" if rounds else "No checkpoint")
booster = xgb.train(
    {"max_depth": 4, "nthread": 1, "seed": 0},
    xgb.DMatrix(features, target),
    num_boost_round=args.num_round - start,
    xgb_model=newest,
    callbacks=[SaveCheckpoint(start)],
)
booster.save_model(os.path.join(args.model_dir, "xgboost-model"))
