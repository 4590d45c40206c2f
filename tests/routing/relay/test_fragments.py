"""The parts of a message: what they make, and which of them is refused."""

import pytest

from routing.relay.fragments import Fragments

GREEK = "κόσμε".encode()


def test_parts_make_the_message_however_it_is_cut() -> None:
    for cut in range(len(GREEK) + 1):
        parts = Fragments(True, 100)
        assert parts.add(memoryview(GREEK[:cut]), False) is None
        assert parts.add(memoryview(GREEK[cut:]), True) is None
        assert parts.whole() == GREEK


@pytest.mark.parametrize("wrong", [b"\xed\xa0\x80", b"\xf4\x90", b"\xc0\xaf", b"\xff", b"\xe0\x80"])
def test_part_with_wrong_text_is_refused_before_the_last_one(wrong: bytes) -> None:
    parts = Fragments(True, 100)
    assert parts.add(memoryview(GREEK), False) is None
    problem = parts.add(memoryview(wrong), False)
    assert problem is not None
    assert problem[0] == 1007


def test_text_that_ends_within_a_character_is_refused() -> None:
    parts = Fragments(True, 100)
    assert parts.add(memoryview(GREEK[:-1]), False) is None
    problem = parts.add(memoryview(b""), True)
    assert problem is not None
    assert problem[0] == 1007


def test_parts_count_together_and_binary_ones_may_hold_anything() -> None:
    parts = Fragments(False, 4)
    assert parts.add(memoryview(b"\xff\xff"), False) is None
    assert parts.add(memoryview(b"\xff\xff"), False) is None
    problem = parts.add(memoryview(b"\xff"), True)
    assert problem is not None
    assert problem[0] == 1009
