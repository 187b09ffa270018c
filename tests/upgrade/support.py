"""The release that is upgraded.

`releases/` has the wheel of 0.2.0, built from 9ecbdfe, the commit with that version and its release notes:

    git archive 9ecbdfe | tar x -C FOLDER && SOURCE_DATE_EPOCH=1795911708 uv build --wheel FOLDER
"""

from __future__ import annotations

from pathlib import Path

RELEASED_IN = "9ecbdfe8e7486352a010c99528fa50e2e4473169"
WHEEL = Path(__file__).parent / "releases" / "airflow_provider_spot_training-0.2.0-py3-none-any.whl"
