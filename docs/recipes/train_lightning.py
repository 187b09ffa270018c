"""Lightning: keep the two newest epochs, written whole, and continue after the newest that is."""

import argparse
import os
import time
import zipfile
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=20)
args = parser.parse_args()
folder = Path(os.environ.get("SM_CHECKPOINT_DIR", "/opt/ml/checkpoints"))


class Regressor(pl.LightningModule):  # in place of your model
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))

    def training_step(self, batch, _):
        features, target = batch
        return torch.nn.functional.mse_loss(self.net(features), target)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())

    def on_train_epoch_end(self):
        time.sleep(0.3)  # in place of more data


pl.seed_everything(0)
torch.set_num_threads(1)
features = torch.randn(512, 16)  # in place of your data
data = TensorDataset(features, features.sum(dim=1, keepdim=True))


class WholeFiles(TorchCheckpointIO):
    """Lightning writes to /tmp and moves, which is a copy between two mounts. This is a rename."""

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        writing = folder / "writing.sagemaker-ignore"
        torch.save(checkpoint, writing)
        writing.replace(path)


# Lightning tells it the number of the epoch, and the order of the data depends on that alone.
sampler = DistributedSampler(data, num_replicas=1, rank=0)
newest_two = pl.callbacks.ModelCheckpoint(
    folder, "epoch-{epoch:04d}", monitor="epoch", mode="max", save_top_k=2, auto_insert_metric_name=False
)
# A .ckpt file is a zip, and the end of a torn one is missing.
whole = [path for path in sorted(folder.glob("epoch-*.ckpt")) if zipfile.is_zipfile(path)]
print(f"continuing after {whole[-1].stem}" if whole else "starting")
model = Regressor()
trainer = pl.Trainer(
    max_epochs=args.epochs,
    callbacks=[newest_two],
    plugins=[WholeFiles()],
    accelerator="cpu",
    logger=False,
    enable_progress_bar=False,
)
trainer.fit(model, DataLoader(data, batch_size=64, sampler=sampler), ckpt_path=whole[-1] if whole else None)
torch.save(model.state_dict(), Path(os.environ["SM_MODEL_DIR"], "model.pth"))
