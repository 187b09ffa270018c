"""How fast the ledger is: writing, merging, reports and the page's questions over a million records.

    python benchmarks/ledger.py [--records 1000000] [--fresh 10000] [--rounds 5] [--out FILE]

A ledger in a local folder, on this machine's disk. Records of three attempts at most are made by the code
that tasks use; one in fifty of the large ledger's records is made so, and the others are its copies under
another name, run and time. The large ledger is merged; on top of it come `--fresh` records in small files, as
they are between two compactions. Queries use a loaded reader, and the median round counts. A separate process
reads, and its memory is printed. Nothing is written without --out.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import resource
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

# ruff: noqa: S608 - the SQL is made of names in this file
from spot_training.domain.lifecycle import Ending, SecondaryStatus, Transition
from spot_training.domain.records import DecisionMade, Price, RecordState, TrainingRecord
from spot_training.domain.savings import Attempt, PurchaseOption
from spot_training.ledger import Ledger, Selection
from spot_training.ledger.compaction import compact
from spot_training.ledger.manifest import Manifest, MergedFile
from spot_training.ledger.merged import digest_of
from spot_training.ledger.schema import COLUMNS, json_columns

FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 730
COPIES = 50
TYPES = {"ml.m5.xlarge": 0.23, "ml.m5.2xlarge": 0.461, "ml.c5.2xlarge": 0.408, "ml.g4dn.xlarge": 0.736}


def make_records(count: int, *, seed: int = 1, prefix: str = "run") -> Iterator[TrainingRecord]:
    """Trainings of 40 Dags over two years; most take one attempt, some two or three."""
    chance = random.Random(seed)  # noqa: S311 - a benchmark's data
    for number in range(count):
        yield _record(f"{prefix} {number}", chance)


def _record(run_id: str, chance: random.Random) -> TrainingRecord:
    began = FIRST_DAY + timedelta(seconds=chance.randrange(DAYS * 86400))
    kind, usd = chance.choice(list(TYPES.items()))
    tries = chance.choices([1, 2, 3], weights=[80, 15, 5])[0]
    attempts, at = [], began
    for n in range(1, tries + 1):
        attempt = _attempt(run_id, n, kind, at, is_last=n == tries, chance=chance)
        attempts.append(attempt)
        at = attempt.ended_at or at
    model = f"model-{chance.randrange(40)}"
    return TrainingRecord(
        dag_id=f"retrain_{model}",
        run_id=run_id,
        task_id="train",
        version=1,
        state=RecordState.COMPLETED if attempts[-1].ending is Ending.COMPLETED else RecordState.FAILED,
        model=model,
        team=f"team-{chance.randrange(8)}",
        tags={"team": "a", "cost-centre": str(chance.randrange(20))},
        region="us-east-1",
        instance_type=kind,
        began_at=began,
        ended_at=at,
        attempts=tuple(attempts),
        decisions=tuple(
            DecisionMade(decided_at=a.created_at or began, action="start", reason=a.reason, attempt=a.number)
            for a in attempts
        ),
        prices=(Price(instance_type=kind, usd_per_hour=usd, as_of=began, source="AWS Price List API"),),
        written_at=at,
    )


def _attempt(
    run_id: str, number: int, kind: str, at: datetime, *, is_last: bool, chance: random.Random
) -> Attempt:
    wait, work = chance.randrange(60, 7200), chance.randrange(600, 14400)
    interruptions = chance.choices([0, 1, 3], weights=[80, 15, 5])[0]
    visits, now = [], at
    for _ in range(interruptions + 1):
        for status, seconds in (
            (SecondaryStatus.STARTING, wait),
            (SecondaryStatus.DOWNLOADING, 120),
            (SecondaryStatus.TRAINING, work // (interruptions + 1)),
        ):
            visits.append(
                Transition(status=status, started_at=now, ended_at=now + timedelta(seconds=seconds))
            )
            now += timedelta(seconds=seconds)
    ending = Ending.COMPLETED if is_last and chance.random() < 0.95 else Ending.OUT_OF_WAIT
    return Attempt(
        number=number,
        step=number - 1,
        job_name=f"model-{zlib.crc32(run_id.encode()):012x}-{number}",
        purchase=PurchaseOption.SPOT if number < 3 else PurchaseOption.ON_DEMAND,
        reason="first of 3 steps" if number == 1 else "no spot capacity for 1 h; waiting twice as long",
        ending=ending,
        created_at=at,
        started_at=at + timedelta(seconds=wait),
        ended_at=now,
        instance_type=kind,
        max_runtime_seconds=14400,
        max_wait_seconds=28800,
        has_checkpoints=True,
        interruptions=interruptions,
        wait_seconds=wait * (interruptions + 1),
        training_seconds=work + 120,
        billable_seconds=round((work + 120) * 0.3),
        work_seconds=work,
        launch_seconds=120,
        transitions=tuple(visits),
    )


# --- the large ledger ---


def build(folder: Path, count: int) -> None:
    """A merged ledger of `count` records, a file a month."""
    ledger = Ledger.at(folder)
    seeds = max(1, count // COPIES)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        lines = Path(scratch) / "seeds.jsonl"
        with lines.open("w") as file:
            file.writelines(json.dumps(record.to_json()) + "\n" for record in make_records(seeds))
        connection = duckdb.connect(str(Path(scratch) / "scratch.duckdb"))
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        connection.execute(
            f"CREATE TABLE seeds AS SELECT * FROM read_json('{lines}', format = 'newline_delimited', "
            f"columns = {json_columns()})"
        )
        # Copies lie a few days apart from each other, each of another run.
        connection.execute(
            "CREATE VIEW everything AS SELECT s.* REPLACE ("
            "md5(key || '/' || n) AS key, run_id || '/' || n AS run_id, "
            "began_at + INTERVAL 1 HOUR * (n * 37 % 700) AS began_at) "
            f"FROM seeds s, range({COPIES}) r(n)"
        )
        files = []
        months = connection.execute(
            "SELECT strftime(began_at, '%Y-%m') AS month, count(*) FROM everything GROUP BY 1 ORDER BY 1"
        ).fetchall()
        for month, rows in months:
            path = f"months/{month}/{month}.parquet"
            Path(ledger.path(path)).parent.mkdir(parents=True)
            connection.execute(
                f"COPY (SELECT {', '.join(COLUMNS)} FROM everything "
                f"WHERE strftime(began_at, '%Y-%m') = '{month}' ORDER BY began_at, key) "
                f"TO '{ledger.path(path)}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20000)"
            )
            files.append(MergedFile(path=path, rows=rows, digest=digest_of(ledger.path(path))))
        connection.close()
    Manifest(number=1, files=tuple(files)).publish(ledger, made_at=datetime.now(UTC))


# --- what is measured ---


def _write_all(folder: str, count: int, seed: int) -> None:
    ledger = Ledger.at(folder)
    for record in make_records(count, seed=seed, prefix=f"fresh {seed}"):
        ledger.write(record)


def measure_writing(folder: Path, count: int, writers: int) -> float:
    """Records a second, by so many processes at once, each record safe on the disk before the next."""
    context = multiprocessing.get_context("spawn")
    share = count // writers
    with context.Pool(writers) as pool:
        pool.starmap(_write_all, [(str(folder / "warm"), 1, 900 + n) for n in range(writers)])
        began = time.perf_counter()
        pool.starmap(_write_all, [(str(folder), share, n + 1) for n in range(writers)])
        return share * writers / (time.perf_counter() - began)


def _questions(folder: str, rounds: int, reply: Any) -> None:
    """Load a reader and ask it everything; tells milliseconds by question, and this process's memory."""
    ledger = Ledger.at(folder)
    took: dict[str, float] = {}
    loads = []
    for _ in range(rounds):
        began = time.perf_counter()
        reader = ledger.read()
        loads.append(time.perf_counter() - began)
    took["open a reader"] = statistics.median(loads) * 1000
    key = reader.query("SELECT key FROM trainings ORDER BY began_at LIMIT 1 OFFSET 7")[0]["key"]
    until = FIRST_DAY + timedelta(days=DAYS)
    week = Selection(since=until - timedelta(days=7), until=until)
    asked: dict[str, Callable[[], object]] = {
        "totals of everything": reader.totals,
        "totals of a week": partial(reader.totals, week),
        "totals by Dag": partial(reader.totals_by, "dag_id"),
        "totals by instance type, one Dag": partial(
            reader.totals_by, "instance_type", Selection(dag_ids=("retrain_model-7",))
        ),
        "savings by day, all": partial(reader.query, _BY_DAY),
        "waits and interruptions by type and hour": partial(reader.query, _BY_HOUR),
        "the 50 dearest, in full": partial(reader.records, order="billed_usd", limit=50),
        "the newest 50 of one Dag, in full": partial(
            reader.records, Selection(dag_ids=("retrain_model-7",)), limit=50
        ),
        "one training by its key": partial(reader.record, key),
        "a week's trainings, in full": partial(reader.records, week),
    }
    for name, ask in asked.items():
        took[name] = statistics.median(_milliseconds(ask) for _ in range(rounds))
    took["memory, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    reply.put(took)


_BY_DAY = """
SELECT date_trunc('day', began_at) AS day, sum(billed_usd) AS billed, sum(saved_usd) AS saved, count(*) AS n
FROM trainings GROUP BY 1 ORDER BY 1
"""
_BY_HOUR = """
SELECT instance_type, hour(created_at) AS hour, avg(wait_seconds) AS wait, sum(interruptions) AS interruptions
FROM attempts WHERE purchase = 'spot' GROUP BY 1, 2 ORDER BY 1, 2
"""


def _milliseconds(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1000


def measure_reading(folder: Path, rounds: int) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    reply = context.Queue()
    process = context.Process(target=_questions, args=(str(folder), rounds, reply))
    process.start()
    took: dict[str, float] = reply.get()
    process.join()
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--fresh", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to put the ledgers (default: a temporary folder)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    text = "\n".join(_measure(options)) + "\n"
    print(text, end="")
    if options.out:
        options.out.write_text(text)
    return 0


def _measure(options: argparse.Namespace) -> Iterator[str]:
    yield (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python "
        f"{platform.python_version()}, DuckDB {duckdb.__version__}, load {os.getloadavg()[0]:.1f}:"
    )
    with tempfile.TemporaryDirectory(prefix="ledger-benchmark-", dir=options.folder) as scratch:
        writing = Path(scratch) / "writing"
        yield from ("", "| records written | per second |", "| --- | ---: |")
        for writers in (1, 4):
            rate = measure_writing(writing / str(writers), min(options.fresh, 2000), writers)
            yield f"| by {writers} process{'' if writers == 1 else 'es'} | {rate:,.0f} |"
        large = Path(scratch) / "ledger"
        build(large, options.records)
        size = sum(path.stat().st_size for path in large.rglob("*.parquet")) / 1e6
        merged = measure_reading(large, options.rounds)
        _write_all(str(large), options.fresh, 77)
        both = measure_reading(large, options.rounds)
        yield from (
            "",
            f"| {options.records:,} records, {size:,.0f} MB | merged, ms | {options.fresh:,} fresh, ms |",
            "| --- | ---: | ---: |",
        )
        memory = "memory, MB"
        for name in merged:
            if name != memory:
                yield f"| {name} | {merged[name]:,.0f} | {both[name]:,.0f} |"
        yield f"| memory of the reading process, MB | {merged[memory]:,.0f} | {both[memory]:,.0f} |"
        began = time.perf_counter()
        done = compact(Ledger.at(large), settled_after=timedelta(0))
        yield ""
        yield (
            f"Merging those {done.merged:,} small files into the {options.records:,} records took "
            f"{time.perf_counter() - began:.1f} s."
        )


if __name__ == "__main__":
    sys.exit(main())
