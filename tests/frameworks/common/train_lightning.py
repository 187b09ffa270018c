"""Lightning as people commonly write it: ModelCheckpoint with save_last, and ckpt_path=last.ckpt."""

import argparse
import os
import time

import pytorch_lightning as pl
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=15)
parser.add_argument("--checkpoint-dir", default="/opt/ml/checkpoints")
parser.add_argument("--model-dir", default=os.environ.get("SM_MODEL_DIR"))
args = parser.parse_args()


class Regressor(pl.LightningModule):
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
features = torch.randn(512, 16)
data = torch.utils.data.TensorDataset(features, features.sum(dim=1, keepdim=True))
last = os.path.join(args.checkpoint_dir, "last.ckpt")
trainer = pl.Trainer(
    max_epochs=args.epochs,
    accelerator="cpu",
    logger=False,
    enable_progress_bar=False,
    callbacks=[pl.callbacks.ModelCheckpoint(args.checkpoint_dir, save_last=True)],
)
model = Regressor()
trainer.fit(
    model,
    torch.utils.data.DataLoader(data, batch_size=64, shuffle=True),
    ckpt_path=last if os.path.exists(last) else None,
)
torch.save(model.state_dict(), os.path.join(args.model_dir, "model.pth"))
