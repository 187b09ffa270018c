"""Keras as people commonly write it: BackupAndRestore on the checkpoint folder, then an evaluation."""

import argparse
import os
import time

os.environ.update(KERAS_BACKEND="torch", OMP_NUM_THREADS="1")

import keras
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=15)
parser.add_argument("--backup-dir", default="/opt/ml/checkpoints")
parser.add_argument("--model-dir", default=os.environ.get("SM_MODEL_DIR"))
args = parser.parse_args()

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
features = rng.normal(size=(512, 16)).astype("float32")
target = features.sum(axis=1, keepdims=True)
model = keras.Sequential(
    [keras.Input((16,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(1)]
)
model.compile(optimizer="adam", loss="mse")


class Slow(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        time.sleep(0.3)  # in place of more data


model.fit(
    features,
    target,
    epochs=args.epochs,
    batch_size=64,
    verbose=2,
    callbacks=[Slow(), keras.callbacks.BackupAndRestore(args.backup_dir)],
)
print("evaluating")
time.sleep(1)  # in place of more data
print(model.evaluate(features, target, verbose=0))
model.save(os.path.join(args.model_dir, "model.keras"))
