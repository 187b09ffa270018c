"""PyTorch as people commonly write it: torch.save over the same file after every epoch."""

import argparse
import os
import time

import torch

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--checkpoint-dir", default="/opt/ml/checkpoints")
parser.add_argument("--model-dir", default=os.environ.get("SM_MODEL_DIR"))
args = parser.parse_args()

torch.manual_seed(0)
torch.set_num_threads(1)
features = torch.randn(512, 16)
target = features.sum(dim=1, keepdim=True)
loader = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(features, target), batch_size=64, shuffle=True
)
model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters())

start = 0
checkpoint = os.path.join(args.checkpoint_dir, "checkpoint.pt")
if os.path.exists(checkpoint):
    state = torch.load(checkpoint)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    start = state["epoch"] + 1
    print(f"resuming from epoch {start}")

for epoch in range(start, args.epochs):
    for batch, wanted in loader:
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(batch), wanted).backward()
        optimizer.step()
    time.sleep(0.3)  # in place of more data
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}, checkpoint)

torch.save(model.state_dict(), os.path.join(args.model_dir, "model.pth"))
