"""The benchmark of the ledger runs; the full one is a command: `python benchmarks/ledger.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_benchmark_asks_every_question_and_writes_only_what_it_is_told(tmp_path: Path) -> None:
    out = tmp_path / "figures.md"
    command = [sys.executable, str(ROOT / "benchmarks" / "ledger.py"), "--folder", str(tmp_path)]
    sample = ["--records", "2000", "--fresh", "40", "--rounds", "1", "--out", str(out)]
    done = subprocess.run([*command, *sample], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert out.read_text() == done.stdout
    assert "one training by its key" in done.stdout
    assert "Merging those 40 small files into the 2,000 records took" in done.stdout
    assert list(tmp_path.iterdir()) == [out]
