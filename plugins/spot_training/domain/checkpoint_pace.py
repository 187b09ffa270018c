"""How often a training saves, learned from the checkpoints seen so far, and whether uploads have stalled.

Pure: all values are seconds of training (time in `Training`), so that waiting for spot does not count. The
interval is learned, because scripts save at epochs of uneven length: what counts is the longest recent
interval, and more if it lies far above the others or if only a few were seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .parsing import in_words

#: Uploads have stalled after so many expected intervals without a checkpoint, but not before ten minutes.
STALLED_AFTER_INTERVALS = 3.5
STALLED_AFTER_AT_LEAST_SECONDS = 600.0
#: How many of the newest intervals count.
RECENT_INTERVALS = 30
#: By how much an interval may be longer than the longest one that was seen, if only so many were seen.
_FEW = {1: 6.0, 2: 4.0, 3: 3.0, 4: 2.0, 5: 1.5}
#: The most that is added because the longest interval lies far above the others.
_MOST_UNEVEN = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """Whether the uploads of checkpoints have stalled, at one look.

    `silent_seconds`: training since the last checkpoint. `stalled_after_seconds`: from which silence on they
    count as stalled; None if that is not known yet. `reason` is for the log.
    """

    is_stalled: bool
    silent_seconds: float
    expected_seconds: float | None
    stalled_after_seconds: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPace:
    """What is known of the intervals between checkpoints.

    `intervals`: between two checkpoints of one launch, oldest first. `first_seconds`: the longest time that
    any launch trained before its first checkpoint. `given_seconds`: the interval that the author states, or
    that earlier trainings had; it counts until intervals are seen.
    """

    intervals: tuple[float, ...] = ()
    first_seconds: float = 0.0
    given_seconds: float | None = None

    @property
    def expected_seconds(self) -> float | None:
        """The longest interval to expect; None if nothing is known."""
        recent = sorted(seconds for seconds in self.intervals[-RECENT_INTERVALS:] if seconds > 0)
        if not recent:
            return self.given_seconds
        longest, usual = recent[-1], recent[(3 * len(recent) - 1) // 4]
        return longest * min(_MOST_UNEVEN, longest / usual) * _FEW.get(len(recent), 1.0)

    @property
    def stalled_after_seconds(self) -> float | None:
        """The silence from which on uploads count as stalled, after the first checkpoint of a launch."""
        expected = self.expected_seconds
        if expected is None:
            return None
        return max(STALLED_AFTER_AT_LEAST_SECONDS, STALLED_AFTER_INTERVALS * expected)

    def look(self, *, silent_seconds: float, has_saved: bool = True) -> Uploads:
        """Whether uploads have stalled after this much training without a checkpoint.

        `has_saved`: whether this launch has saved a checkpoint before. If not, it may still be preparing.
        """
        after = self.stalled_after_seconds
        if after is not None and not has_saved:
            after += self.first_seconds
        is_stalled = after is not None and silent_seconds > after
        return Uploads(
            is_stalled=is_stalled,
            silent_seconds=silent_seconds,
            expected_seconds=self.expected_seconds,
            stalled_after_seconds=after,
            reason=self._reason(silent_seconds, after, is_stalled=is_stalled),
        )

    def _reason(self, silent: float, after: float | None, *, is_stalled: bool) -> str:
        if after is None:
            return "how often the script saves is not known yet"
        seen = len(self.intervals)
        basis = f"learned from {seen} intervals" if seen else "as stated"
        state = "uploads have stalled" if is_stalled else "checkpoints arrive as expected"
        expected = in_words(self.expected_seconds or 0.0)
        return (
            f"{state}: {in_words(silent)} of training without a new checkpoint, expected at least every "
            f"{expected} ({basis}), stalled after {in_words(after)}"
        )


def pace_of(launches: Sequence[Sequence[float]], *, given_seconds: float | None = None) -> CheckpointPace:
    """The pace of a training from its launches, oldest first.

    Each launch is the moments of its checkpoints, in seconds since its `Training` began. The time across an
    interruption is no interval, because it repeats work.
    """
    ordered = [sorted(moments) for moments in launches if moments]
    intervals = [after - before for moments in ordered for before, after in pairwise(moments)]
    return CheckpointPace(
        intervals=tuple(intervals),
        first_seconds=max((moments[0] for moments in ordered), default=0.0),
        given_seconds=given_seconds,
    )
