"""`python benchmarks/policies`, or `python -m benchmarks.policies`, perhaps with the name of a comparison."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a folder: the project's root is where the package is found
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from benchmarks.policies import any_of, compare, misses, way_back

OTHERS = {"any-of": any_of.main, "way-back": way_back.main, "misses": misses.main}

if len(sys.argv) > 1 and sys.argv[1] in OTHERS:
    sys.exit(OTHERS[sys.argv[1]](sys.argv[2:]))
sys.exit(compare.main())
