"""Answers of AWS that are not believed at once: "there is no such job", "it has no tags".

Either may be wrong for a moment, above all right after a job was made. What follows from them (a second job,
a record that is closed) cannot be undone, so they count only once AWS has said nothing else for more than a
minute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .jobs import NotSureYet

Answer = TypeVar("Answer")

#: Seconds (AWS's) after the first answer at which it is asked again; the last one is believed.
ASK_AGAIN_AFTER_SECONDS = (2, 5, 15, 30, 60, 75)


def until_sure(
    ask: Callable[[], Answer],
    *,
    rest: Callable[[float], None],
    is_sure: Callable[[Answer], bool] = lambda _answer: True,
) -> Answer:
    """The first answer that is sure, or else the last one; `rest` lets that many seconds pass in between.

    An answer is not sure, either, where `ask` raises `NotSureYet`: the last one is raised then.
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
