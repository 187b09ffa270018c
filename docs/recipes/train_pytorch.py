"""PyTorch: save after every epoch, and continue after the newest epoch that is whole."""

import argparse
import os
import time
import zipfile
from pathlib import Path

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=20)
args = parser.parse_args()
folder = Path(os.environ.get("SM_CHECKPOINT_DIR", "/opt/ml/checkpoints"))

torch.manual_seed(0)
torch.set_num_threads(1)
features = torch.randn(512, 16)  # in place of your data
target = features.sum(dim=1, keepdim=True)
data = torch.utils.data.TensorDataset(features, target)
loader = torch.utils.data.DataLoader(data, batch_size=64, shuffle=True)
model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Dropout(), torch.nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters())


def load_newest():
    # A torch file is a zip, and the end of a torn one is missing.
    whole = [path for path in sorted(folder.glob("epoch-*.pt")) if zipfile.is_zipfile(path)]
    if not whole:
        return 0
    state = torch.load(whole[-1])
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["epoch"]


def save(epoch):
    writing = folder / "writing.sagemaker-ignore"
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}, writing)
    writing.replace(folder / f"epoch-{epoch:04d}.pt")
    for old in sorted(folder.glob("epoch-*.pt"))[:-2]:
        old.unlink()


done = load_newest()
print(f"continuing after epoch {done}")
for epoch in range(done + 1, args.epochs + 1):
    torch.manual_seed(epoch)  # from the epoch, not from what was drawn before
    for batch, wanted in loader:
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(batch), wanted).backward()
        optimizer.step()
    time.sleep(0.3)  # in place of more data
    save(epoch)
torch.save(model.state_dict(), Path(os.environ["SM_MODEL_DIR"], "model.pth"))
