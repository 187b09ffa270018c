"""A trained model, as the training script saved it: load it, predict with it, evaluate it.

The model brings its own columns and categories in `features.json`; this file only applies them, so a model of
last year is fed as it was trained. xgboost and pandas are imported inside functions. Imports no Airflow.
"""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from include.flight_delays.errors import EvaluationError, ModelArtifactError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

MODEL_FILE: Final = "model.ubj"
FEATURES_FILE: Final = "features.json"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    name: str
    categories: tuple[str, ...] | None
    """None for a number; for a category, the values in the order of their codes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    booster: Any
    features: tuple[Feature, ...]
    label: str

    def predict(self, flights: pd.DataFrame) -> npt.NDArray[np.float32]:
        """Return each flight's probability of being late. Unknown categories count as missing values."""
        import xgboost as xgb

        missing = [feature.name for feature in self.features if feature.name not in flights.columns]
        if missing:
            raise EvaluationError(
                f"The model needs the columns {missing}, which the given flights do not have."
            )
        matrix = xgb.DMatrix(
            _encode(flights, self.features),
            feature_names=[feature.name for feature in self.features],
            feature_types=["q" if feature.categories is None else "c" for feature in self.features],
            enable_categorical=True,
            nthread=1,
        )
        predictions: npt.NDArray[np.float32] = self.booster.predict(matrix)
        return predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The scores of a model on flights that it has not seen."""

    auc: float
    """The probability that a late flight gets a higher score than one that is on time; 0.5 is chance."""
    log_loss: float
    rows: int
    positives_rate: float


def load(artifact: Path | bytes) -> Model:
    """Read a model.tar.gz, by its path or its content.

    Nothing is unpacked to disk: two regular files are read by name, so no path in the archive matters.
    """
    import xgboost as xgb

    try:
        body = artifact if isinstance(artifact, bytes) else artifact.read_bytes()
        with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as archive:
            described = json.loads(_read_member(archive, FEATURES_FILE))
            saved = _read_member(archive, MODEL_FILE)
    except (tarfile.TarError, EOFError, OSError, ValueError) as exc:
        if isinstance(exc, ModelArtifactError | FileNotFoundError):
            raise
        raise ModelArtifactError(f"This is not a model.tar.gz of the training script: {exc}") from exc
    if described.get("format") != FORMAT:
        raise ModelArtifactError(
            f"{FEATURES_FILE} is of format {described.get('format')!r}; this code reads format {FORMAT}. "
            "Train the model again with the script of this version."
        )
    booster = xgb.Booster()
    try:
        booster.load_model(bytearray(saved))
    except xgb.core.XGBoostError as exc:
        raise ModelArtifactError(f"XGBoost {xgb.__version__} cannot read {MODEL_FILE}: {exc}") from exc
    # For a few thousand rows, more threads only compete with other tasks.
    booster.set_param({"nthread": 1})
    features = tuple(
        Feature(
            name=item["name"], categories=None if item["categories"] is None else tuple(item["categories"])
        )
        for item in described["features"]
    )
    return Model(booster=booster, features=features, label=described["label"])


def evaluate(model: Model, holdout: pd.DataFrame) -> Evaluation:
    """Measure a model on flights with their label, such as `data.read_table` returns."""
    import numpy as np

    if model.label not in holdout.columns:
        raise EvaluationError(f"The holdout has no column {model.label}, which the model predicts.")
    labels = holdout[model.label].to_numpy(dtype="float64")
    predictions = model.predict(holdout).astype("float64")
    area = auc(labels, predictions)
    likely = np.clip(np.where(labels == 1, predictions, 1 - predictions), 1e-15, 1)
    return Evaluation(
        auc=area,
        log_loss=float(-np.log(likely).mean()),
        rows=len(labels),
        positives_rate=float(labels.mean()),
    )


def auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Return the area under the ROC curve from the ranks of the scores; equal scores share their mean
    rank."""
    import numpy as np

    positive = np.asarray(labels) == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        raise EvaluationError(
            f"The AUC needs flights of both kinds; there are {positives} late ones and {negatives} on time."
        )
    _, group, sizes = np.unique(np.asarray(scores), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    above = float(ranks[positive].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def _read_member(archive: tarfile.TarFile, name: str) -> bytes:
    # Both `tar czf x .` and the training toolkit's way of naming members are met in the wild.
    for member in archive:
        if member.isfile() and member.name.removeprefix("./") == name:
            file = archive.extractfile(member)
            if file is not None:
                return file.read()
    raise ModelArtifactError(
        f"The model.tar.gz has no {name}, which the training script saves: {archive.getnames()}."
    )


def _encode(flights: pd.DataFrame, features: tuple[Feature, ...]) -> npt.NDArray[np.float32]:
    import numpy as np
    import pandas as pd

    columns = []
    for feature in features:
        column = flights[feature.name]
        if feature.categories is None:
            columns.append(column.to_numpy(dtype="float32", na_value=np.nan))
        else:
            codes = pd.Index(feature.categories).get_indexer(pd.Index(column.astype("str")))
            columns.append(np.where(codes < 0, np.nan, codes).astype("float32"))
    return np.column_stack(columns)
