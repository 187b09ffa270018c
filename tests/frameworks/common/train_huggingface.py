"""The Hugging Face Trainer as people commonly write it: get_last_checkpoint and save_total_limit."""

import argparse
import os
import time

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=60)
parser.add_argument("--checkpoint-dir", default="/opt/ml/checkpoints")
parser.add_argument("--model-dir", default=os.environ.get("SM_MODEL_DIR"))
args = parser.parse_args()

torch.set_num_threads(1)
torch.manual_seed(0)
tokens = torch.randint(0, 100, (256, 16))
data = [{"input_ids": row, "labels": row[0] % 2} for row in tokens]
config = BertConfig(
    vocab_size=100, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
)


class Slow(TrainerCallback):
    def on_step_end(self, arguments, state, control, **kwargs):
        time.sleep(0.1)  # in place of more data


trainer = Trainer(
    model=BertForSequenceClassification(config),
    args=TrainingArguments(
        output_dir=args.checkpoint_dir,
        max_steps=args.steps,
        per_device_train_batch_size=16,
        save_strategy="steps",
        save_steps=10,
        save_total_limit=2,
        logging_steps=10,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    ),
    train_dataset=data,
    callbacks=[Slow()],
)
last = get_last_checkpoint(args.checkpoint_dir) if os.path.isdir(args.checkpoint_dir) else None
trainer.train(resume_from_checkpoint=last)
trainer.save_model(args.model_dir)
