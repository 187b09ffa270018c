"""`python benchmarks/policies`, or `python -m benchmarks.policies`."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a folder: the project's root is where the package is found
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.policies.compare import main

sys.exit(main())
