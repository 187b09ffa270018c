"""Which of these tests can run here.

`test_helm_chart.py` renders the official Helm chart, which no package index has. It runs where
`SPOT_HELM_CHART` names the chart's folder or .tgz and `helm-python-sdk` is installed. Everywhere else
`test_helm.py` checks the values against a list of the chart's keys.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

collect_ignore: list[str] = []
if "SPOT_HELM_CHART" not in os.environ or find_spec("helm_python") is None:
    collect_ignore.append("test_helm_chart.py")
