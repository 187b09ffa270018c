"""Train the flight-delay model: a SageMaker script-mode script for AWS's own XGBoost container.

Needs numpy and xgboost 1.7 or newer, and nothing of the project it lies in. Reads CSV files with a header
(gzipped or not) from the channels `train` and, if given, `validation`. Saves `model.ubj` and `features.json`
(the columns in their order, and the categories of each) into SM_MODEL_DIR.

It may be killed at any moment and started again. Every few rounds it writes a checkpoint, and a new start
resumes from the newest one that is whole and belongs to this very training. The result is the same, bit for
bit, as that of a run nobody disturbed, because a round depends on nothing but the model so far, the data and
its own number:

- rows are sampled here, by a generator seeded with (seed, round). XGBoost's own `subsample` draws from one
  that a checkpoint does not hold, so its model changes with each resumption, `seed_per_iteration` or not;
- `approx` finds its split candidates anew in each round. `hist` finds them once, from the weights it sees
  first;
- the base score is fixed, and categories get their codes from the sorted values of the train channel.
"""

from __future__ import annotations

import os

# Spinning threads are ruinous where cores are shared, and nothing is gained by them where they are not.
# OpenMP reads this once, when xgboost loads it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import csv
import gzip
import hashlib
import io
import json
import re
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xgboost as xgb

FORMAT = 1
KEPT_CHECKPOINTS = 3
CHECKPOINT_NAME = re.compile(r"model-(?P<identity>[0-9a-f]{12})-(?P<round>[0-9]{6})\.checkpoint")


class Table(NamedTuple):
    """One channel: its columns as text, and the digest of the bytes they came from."""

    columns: dict[str, np.ndarray]
    digest: str


def main() -> None:
    started = time.monotonic()
    args = parse_arguments()
    if len(json.loads(os.environ.get("SM_HOSTS", "[]"))) > 1:
        raise SystemExit("This script trains on one instance; set InstanceCount to 1.")

    table = read_channel("train", args.train)
    features = describe_features(table, args)
    train = make_matrix(table, features, args)
    evals = [(train, "train")]
    if args.validation:
        evals.insert(
            0, (make_matrix(read_channel("validation", args.validation), features, args), "validation")
        )
    for matrix, name in evals:
        log(f"{name}: {matrix.num_row()} rows, {matrix.num_col()} features")

    params = booster_parameters(args)
    identity = identify(params, features, table, args)
    booster = xgb.Booster(
        {**params, "nthread": args.nthread or os.cpu_count()}, [matrix for matrix, _ in evals]
    )
    done = resume(booster, args.checkpoint_dir, identity, args.num_round)
    log(f"resuming from round {done}" if done else "starting from scratch")

    for number in range(done + 1, args.num_round + 1):
        sample_rows(train, number, args)
        booster.update(train, number - 1)
        is_last = number == args.num_round
        if is_last or number % args.log_every == 0:
            train.set_weight(np.ones(train.num_row(), dtype=np.float32))
            log(format_metrics(number, booster.eval_set(evals, number - 1)))
        if is_last or number % args.checkpoint_every == 0:
            save_checkpoint(booster, args.checkpoint_dir, identity, number)

    args.model_dir.mkdir(parents=True, exist_ok=True)
    (args.model_dir / "model.ubj").write_bytes(booster.save_raw(raw_format="ubj"))
    (args.model_dir / "features.json").write_text(
        json.dumps({"format": FORMAT, "label": args.label, "features": features}, indent=2) + "\n"
    )
    log(f"saved the model of {args.num_round} rounds after {time.monotonic() - started:.1f} s")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the flight-delay model.", allow_abbrev=False)
    parser.add_argument("--num_round", type=at_least_one, default=1000, help="boosting rounds")
    parser.add_argument("--max_depth", type=at_least_one, default=6)
    parser.add_argument("--eta", type=float, default=0.01)
    parser.add_argument("--min_child_weight", type=float, default=50.0)
    parser.add_argument("--reg_lambda", type=float, default=1.0)
    parser.add_argument("--subsample", type=share, default=0.7, help="share of the rows a round learns from")
    parser.add_argument("--seed", type=int, default=2013)
    parser.add_argument("--nthread", type=int, default=0, help="0 takes every core; the model is the same")
    parser.add_argument("--label", default="late", help="the column to predict, 0 or 1")
    parser.add_argument("--categorical", default="carrier,origin,dest", help="columns of names, by comma")
    parser.add_argument("--checkpoint_every", type=at_least_one, default=25, help="rounds")
    parser.add_argument("--log_every", type=at_least_one, default=10, help="rounds")
    parser.add_argument("--train", type=Path, default=os.environ.get("SM_CHANNEL_TRAIN"))
    parser.add_argument("--validation", type=Path, default=os.environ.get("SM_CHANNEL_VALIDATION"))
    parser.add_argument("--model_dir", type=Path, default=os.environ.get("SM_MODEL_DIR", "/opt/ml/model"))
    # No SM_ variable of SageMaker's own names this folder: it is the default of CheckpointConfig.LocalPath.
    parser.add_argument(
        "--checkpoint_dir", type=Path, default=os.environ.get("SM_CHECKPOINT_DIR", "/opt/ml/checkpoints")
    )
    args = parser.parse_args()
    if args.train is None:
        parser.error(
            "there is no data: the training job has no channel named train (SM_CHANNEL_TRAIN is not set)"
        )
    return args


def at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


def share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{value} is not above 0 and at most 1")
    return value


def read_channel(name: str, folder: Path) -> Table:
    """Read the CSV files of a folder, in the order of their names, as one table."""
    paths = sorted(path for path in folder.glob("*") if path.name.endswith((".csv", ".csv.gz")))
    digest = hashlib.sha256()
    header: list[str] = []
    rows: list[list[str]] = []
    for path in paths:
        body = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        digest.update(body)
        reader = csv.reader(io.StringIO(body.decode("utf-8"), newline=""))
        names = next(reader, [])
        if header and names != header:
            raise SystemExit(f"{path} of the channel {name} has other columns than the file before it.")
        header = names
        rows.extend(reader)
    if not rows:
        raise SystemExit(f"The channel {name} has no rows: found {len(paths)} CSV files in {folder}.")
    if any(len(row) != len(header) for row in rows):
        raise SystemExit(f"The channel {name} has a row that is longer or shorter than its header.")
    cells = np.array(rows)
    return Table({column: cells[:, index] for index, column in enumerate(header)}, digest.hexdigest())


def describe_features(table: Table, args: argparse.Namespace) -> list[dict[str, Any]]:
    """List the features in the order of the columns; the place of a category in its list is its code."""
    if args.label not in table.columns:
        raise SystemExit(
            f"The channel train has no column {args.label} to learn; it has {list(table.columns)}."
        )
    names = [name for name in args.categorical.split(",") if name]
    return [
        {
            "name": name,
            "categories": [str(value) for value in np.unique(column) if value] if name in names else None,
        }
        for name, column in table.columns.items()
        if name != args.label
    ]


def make_matrix(table: Table, features: list[dict[str, Any]], args: argparse.Namespace) -> xgb.DMatrix:
    encoded = [encode(table.columns[feature["name"]], feature["categories"]) for feature in features]
    return xgb.DMatrix(
        np.column_stack(encoded),
        label=table.columns[args.label].astype(np.float32),
        feature_names=[feature["name"] for feature in features],
        feature_types=["q" if feature["categories"] is None else "c" for feature in features],
        enable_categorical=True,
    )


def encode(column: np.ndarray, categories: list[str] | None) -> np.ndarray:
    """Numbers as they are, categories as their codes; empty cells and unknown categories are missing."""
    if categories is None:
        return np.where(column == "", "nan", column).astype(np.float32)
    known = np.array(categories)
    codes = np.minimum(np.searchsorted(known, column), len(known) - 1)
    return np.where(known[codes] == column, codes, np.nan).astype(np.float32)


def booster_parameters(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "objective": "binary:logistic",
        "eval_metric": ["auc", "logloss"],
        "tree_method": "approx",
        "base_score": 0.5,
        "max_depth": args.max_depth,
        "eta": args.eta,
        "min_child_weight": args.min_child_weight,
        "reg_lambda": args.reg_lambda,
        "seed": args.seed,
    }


def sample_rows(train: xgb.DMatrix, number: int, args: argparse.Namespace) -> None:
    if args.subsample < 1:
        drawn = np.random.default_rng((args.seed, number)).random(train.num_row()) < args.subsample
        train.set_weight(drawn.astype(np.float32))


def format_metrics(number: int, line: str) -> str:
    """Return XGBoost's own metrics as `[12] validation-auc:0.70123 ...`, for MetricDefinitions to read."""
    values = (item.split(":") for item in line.split("\t")[1:])
    return f"[{number}] " + " ".join(f"{name}:{float(value):.5f}" for name, value in values)


def identify(
    params: dict[str, Any], features: list[dict[str, Any]], table: Table, args: argparse.Namespace
) -> dict[str, Any]:
    """Return all that shapes the first n rounds. How many there will be, and on how many cores, does not."""
    return {
        **params,
        "subsample": args.subsample,
        "features": hashlib.sha256(json.dumps(features).encode()).hexdigest(),
        "train_data": table.digest,
        "xgboost": xgb.__version__,
        "format": FORMAT,
    }


def digest_of(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def save_checkpoint(booster: xgb.Booster, folder: Path, identity: dict[str, Any], number: int) -> None:
    """Write one file that is either whole or not there, and drop the oldest ones of this training.

    What the checkpoint belongs to is in the file itself: two files would reach S3 one after the other.
    """
    model = bytes(booster.save_raw(raw_format="ubj"))
    header = {
        "round": number,
        "bytes": len(model),
        "sha256": hashlib.sha256(model).hexdigest(),
        "identity": identity,
    }
    folder.mkdir(parents=True, exist_ok=True)
    mine = digest_of(identity)
    path = folder / f"model-{mine}-{number:06d}.checkpoint"
    temporary = folder / f".{path.name}.writing"
    with temporary.open("wb") as file:
        file.write(json.dumps(header).encode() + b"\n" + model)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    for old in [found for found in list_checkpoints(folder, mine) if found[0] <= number][KEPT_CHECKPOINTS:]:
        old[1].unlink(missing_ok=True)


def resume(booster: xgb.Booster, folder: Path, identity: dict[str, Any], num_round: int) -> int:
    """Load the newest checkpoint that fits into `booster` and return its round, 0 if there is none."""
    for leftover in folder.glob(".model-*.checkpoint.writing"):
        leftover.unlink(missing_ok=True)
    for number, path in list_checkpoints(folder):
        try:
            header, model = read_checkpoint(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log(f"skipping {path.name}: it is torn or unreadable ({error})")
            continue
        if header["identity"] != identity:
            changes = differences(header["identity"], identity)
            log(f"skipping {path.name}: it belongs to another training ({changes})")
        elif number > num_round:
            log(f"skipping {path.name}: it is past the {num_round} rounds asked for")
        else:
            booster.load_model(bytearray(model))
            return number
    return 0


def read_checkpoint(path: Path) -> tuple[dict[str, Any], bytes]:
    line, _, model = path.read_bytes().partition(b"\n")
    header = json.loads(line)
    if len(model) != header["bytes"]:
        raise ValueError(f"{len(model)} of {header['bytes']} bytes are there")
    if hashlib.sha256(model).hexdigest() != header["sha256"]:
        raise ValueError("its content is not what was written")
    return header, model


def list_checkpoints(folder: Path, identity_digest: str | None = None) -> list[tuple[int, Path]]:
    """Return (round, path), the newest first."""
    found = []
    for path in folder.glob("model-*.checkpoint"):
        match = CHECKPOINT_NAME.fullmatch(path.name)
        if match and identity_digest in (None, match["identity"]):
            found.append((int(match["round"]), path))
    return sorted(found, reverse=True)


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    changed = [name for name in sorted({*theirs, *ours}) if theirs.get(name) != ours.get(name)]
    return ", ".join(f"{name} was {theirs.get(name)} and is {ours.get(name)}" for name in changed)


def log(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()  # CloudWatch, and whoever watches a job that may be killed, should see it now


if __name__ == "__main__":
    main()
