"""Keras: save the model after every epoch, and continue after the newest epoch that is whole."""

import argparse
import os
import time
import zipfile
from pathlib import Path

os.environ.update(KERAS_BACKEND="torch", OMP_NUM_THREADS="1")

import keras
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=20)
args = parser.parse_args()
folder = Path(os.environ.get("SM_CHECKPOINT_DIR", "/opt/ml/checkpoints"))

rng = np.random.default_rng(0)  # in place of your data
features = rng.normal(size=(512, 16)).astype("float32")
target = features.sum(axis=1, keepdims=True)


def make_model():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(32, activation="relu"), keras.layers.Dropout(0.1), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((16,)), *layers])
    model.compile(optimizer="adam", loss="mse")
    return model


class Checkpoint(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        keras.utils.set_random_seed(epoch)  # from the epoch, not from what was drawn before

    def on_epoch_end(self, epoch, logs=None):
        time.sleep(0.3)  # in place of more data
        writing = folder / "writing.keras"  # with the optimizer's state
        self.model.save(writing)
        writing.replace(folder / f"epoch-{epoch + 1:04d}.keras")
        for old in sorted(folder.glob("epoch-*.keras"))[:-2]:
            old.unlink()


# A .keras file is a zip, and the end of a torn one is missing.
whole = [path for path in sorted(folder.glob("epoch-*.keras")) if zipfile.is_zipfile(path)]
model = keras.saving.load_model(whole[-1]) if whole else make_model()
done = int(whole[-1].stem.split("-")[1]) if whole else 0
print(f"continuing after epoch {done}")
model.fit(features, target, initial_epoch=done, epochs=args.epochs, verbose=2, callbacks=[Checkpoint()])
print(model.evaluate(features, target, verbose=0))
model.save_weights(Path(os.environ["SM_MODEL_DIR"], "model.weights.h5"))
