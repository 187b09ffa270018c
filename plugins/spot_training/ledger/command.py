"""The ledger as a command: `spot-training ledger prune --keep-months 36`.

Prints which merged records are older than the months to keep, and deletes them with --delete. What is under
way, this month's budgets and learned run times need is never among them. Trainings may run, and other
processes may read, write and merge the ledger meanwhile.
"""

from __future__ import annotations

import argparse
import sys

from spot_training.domain.errors import SpotTrainingError

from .opening import configured_url, is_merged_in_one_place, keep_months_setting
from .retention import keep_months_from, prune
from .store import Ledger


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit status: 1 if it failed or was refused."""
    options = _parse(arguments)
    try:
        return _prune(options)
    except (SpotTrainingError, OSError) as error:
        print(f"The ledger was not pruned: {error}", file=sys.stderr)
        return 1


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="spot-training ledger", description=__doc__)
    parser.add_argument("action", choices=["prune"], help="prune: remove old records")
    parser.add_argument("--ledger", help="its folder or s3:// URL (default: the configured one)")
    parser.add_argument(
        "--keep-months",
        help="how many months to keep, this one included (default: [spot_training] ledger_keep_months)",
    )
    parser.add_argument("--delete", action="store_true", help="delete them (default: only say which)")
    return parser.parse_args(arguments)


def _prune(options: argparse.Namespace) -> int:
    setting, name = keep_months_setting()
    if options.keep_months:
        months = keep_months_from(options.keep_months, field="--keep-months")
    else:
        months = keep_months_from(setting, field=name)
    if months is None:
        print(f"Give --keep-months, or set {name}: all records are kept.", file=sys.stderr)
        return 1
    ledger = Ledger.at(options.ledger or configured_url())
    done = prune(
        ledger,
        keep_months=months,
        is_only_one=is_merged_in_one_place(),
        is_dry_run=not options.delete,
    )
    print(f"Ledger {ledger.root}: {done}.")
    for file in done.files:
        print(f"  {file.month}  {file.rows} record(s)  {file.path}")
    if done.files and not options.delete:
        print("Nothing was changed. --delete removes them; there is no way back.")
    if done.is_done:
        ledger.compact()
    return 1 if done.refused else 0
