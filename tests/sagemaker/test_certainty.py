"""How long an answer that may be wrong is asked for again, on AWS's clock."""

from __future__ import annotations

import pytest

from spot_training.sagemaker.certainty import ASK_AGAIN_AFTER_SECONDS, until_sure
from spot_training.sagemaker.jobs import NoTagsYet


def test_it_is_asked_again_at_each_moment_and_the_last_answer_counts() -> None:
    rests: list[float] = []
    asked: list[float] = []

    def ask() -> str:
        asked.append(sum(rests))
        return ""

    assert until_sure(ask, rest=rests.append, is_sure=bool) == ""
    assert asked == [0, *ASK_AGAIN_AFTER_SECONDS]
    assert asked[-1] > 60


def test_the_first_sure_answer_ends_it() -> None:
    answers = iter(["", "", "there it is", "nobody asks"])
    rests: list[float] = []
    assert until_sure(lambda: next(answers), rest=rests.append, is_sure=bool) == "there it is"
    assert rests == [2, 3]


def test_what_stays_unsure_is_raised_after_the_last_question() -> None:
    rests: list[float] = []

    def ask() -> str:
        raise NoTagsYet("job")

    with pytest.raises(NoTagsYet):
        until_sure(ask, rest=rests.append)
    assert sum(rests) == ASK_AGAIN_AFTER_SECONDS[-1]
