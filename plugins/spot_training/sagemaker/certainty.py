"""Answers of AWS that are confirmed before they count: "there is no such job", "it has no tags".

Either may be wrong for a moment, above all right after a job was created. Their consequences (a second job,
a closed record) cannot be undone, so they count only after AWS has given the same answer for more than a
minute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .jobs import NotSureYet

Answer = TypeVar("Answer")

#: When to ask again, in seconds (AWS's) after the first answer. The last answer counts.
ASK_AGAIN_AFTER_SECONDS = (2, 5, 15, 30, 60, 75)


def until_sure(
    ask: Callable[[], Answer],
    *,
    rest: Callable[[float], None],
    is_sure: Callable[[Answer], bool] = lambda _answer: True,
) -> Answer:
    """The first answer that is sure, else the last one. `rest` waits for a number of seconds.

    An answer is not sure either when `ask` raises `NotSureYet`. The last of these is raised.
    """
    waited = 0.0
    for again_at in (*ASK_AGAIN_AFTER_SECONDS, None):
        try:
            answer = ask()
            if again_at is None or is_sure(answer):
                return answer
        except NotSureYet:
            if again_at is None:
                raise
        rest(again_at - waited)
        waited = again_at
    raise AssertionError("the last answer counts")
