"""Half characters never reach a file, a page or a state."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_training.domain.lifecycle import Ending
from spot_training.domain.text import whole_text, with_whole_text


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("all \N{SNOWMAN} well", "all \N{SNOWMAN} well"),
        ("cut \ud83d", "cut \ufffd"),
        ("\ude00 begins", "\ufffd begins"),
        ("in \ud83d between", "in \ufffd between"),
        ("\ud83d\ud83d", "\ufffd\ufffd"),
        ("two halves \ud83d\ude00", "two halves \N{GRINNING FACE}"),
        ("\udc80", "\ufffd"),
    ],
)
def test_half_characters_are_replaced_and_nothing_else(text: str, whole: str) -> None:
    assert whole_text(text) == whole


@given(st.text(st.characters(blacklist_categories=())))
def test_every_text_can_be_written(text: str) -> None:
    assert whole_text(whole_text(text)).encode() == whole_text(text).encode()
    data = {text: [text, {"a": (text, 1, None, True)}]}
    json.dumps(with_whole_text(data), ensure_ascii=False).encode()


def test_what_is_no_plain_text_is_left_as_it_is() -> None:
    assert with_whole_text({"a": Ending.COMPLETED})["a"] is Ending.COMPLETED
