"""Hugging Face Trainer: note the sizes of a checkpoint's files, and continue after the newest whole one."""

import argparse
import json
import os
import shutil
import time
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=60)
args = parser.parse_args()
folder = Path(os.environ.get("SM_CHECKPOINT_DIR", "/opt/ml/checkpoints"))

torch.manual_seed(0)
torch.set_num_threads(1)
tokens = torch.randint(0, 100, (256, 16))  # in place of your data and model
data = [{"input_ids": row, "labels": row[0] % 2} for row in tokens]
config = BertConfig(
    vocab_size=100, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
)


def checkpoints():
    return sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def is_whole(path):
    try:
        sizes = json.loads((path / "sizes.json").read_text())
        return all((path / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


class Checkpoint(TrainerCallback):
    def on_step_end(self, arguments, state, control, **kwargs):
        time.sleep(0.1)  # in place of more data

    def on_save(self, arguments, state, control, **kwargs):
        path = folder / f"checkpoint-{state.global_step}"
        files = [file for file in path.iterdir() if ".sagemaker-" not in file.name]
        writing = path / "sizes.sagemaker-ignore"
        writing.write_text(json.dumps({file.name: file.stat().st_size for file in files}))
        writing.replace(path / "sizes.json")
        # Not with save_total_limit: it keeps the folders that changed last, and a marker is a change.
        for old in checkpoints()[:-2]:
            shutil.rmtree(old, ignore_errors=True)


trainer = Trainer(
    model=BertForSequenceClassification(config),
    args=TrainingArguments(
        folder,
        max_steps=args.steps,
        save_strategy="steps",
        save_steps=10,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    ),
    train_dataset=data,
    callbacks=[Checkpoint()],
)
whole = [path for path in checkpoints() if is_whole(path)]
print(f"continuing after {whole[-1].name}" if whole else "starting")
trainer.train(resume_from_checkpoint=str(whole[-1]) if whole else None)
trainer.save_model(os.environ["SM_MODEL_DIR"])
