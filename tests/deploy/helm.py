"""The values for the official Helm chart, as this repository has them."""

from __future__ import annotations

from typing import Any

import yaml

from .support import DEPLOY

FOLDER = DEPLOY / "helm"
KUBERNETES: dict[str, Any] = yaml.safe_load((FOLDER / "values.yaml").read_text())
CELERY: dict[str, Any] = yaml.safe_load((FOLDER / "values-celery-kubernetes.yaml").read_text())
IRSA = "eks.amazonaws.com/role-arn"
