"""When a peer counts as silent or stalled, by counters alone."""

import pytest

from routing.relay.watch import STALL_SECONDS, Trouble, Watch


class Counters:
    """A leg as a Watch sees it."""

    def __init__(self) -> None:
        self.frames = self.freed = 0
        self.unsent = self.unacknowledged = self.free = 0
        self.reading_paused = False
        self.pings = 0

    def unsent_bytes(self) -> int:
        return self.unsent

    def unacknowledged_bytes(self) -> int:
        return self.unacknowledged

    def room(self) -> int:
        return self.free

    def ping(self) -> None:
        self.pings += 1


def test_silent_peer_is_asked_once_and_given_up_within_two_intervals() -> None:
    leg, watch = Counters(), Watch(0)
    assert [watch.look(leg, second, 20) for second in range(35)] == [None] * 35
    assert leg.pings == 1
    assert watch.look(leg, 35, 20) is Trouble.SILENT


def test_any_frame_ends_the_silence() -> None:
    leg, watch = Counters(), Watch(0)
    for second in range(100):
        leg.frames = second // 16
        assert watch.look(leg, second, 20) is None
    assert leg.pings > 3


def test_without_an_interval_nobody_is_asked() -> None:
    leg, watch = Counters(), Watch(0)
    assert {watch.look(leg, second, None) for second in range(0, 1000, 10)} == {None}
    assert leg.pings == 0


@pytest.mark.parametrize("sign", ["part of a frame", "taken bytes", "paused by us"])
def test_peer_that_can_not_answer_yet_is_not_silent(sign: str) -> None:
    leg, watch = Counters(), Watch(0)
    leg.unacknowledged = 1000 if sign == "taken bytes" else 0
    for second in range(100):
        if sign == "part of a frame":
            leg.free = second
        elif sign == "taken bytes":
            leg.unacknowledged -= 1
        else:
            leg.reading_paused = True
        assert watch.look(leg, second, 20) is None


def test_bytes_that_a_vanished_host_never_takes_are_no_sign_of_life() -> None:
    leg, watch = Counters(), Watch(0)
    leg.unacknowledged = 1000
    assert Trouble.SILENT in [watch.look(leg, second, 20) for second in range(36)]


def test_peer_that_takes_nothing_for_thirty_seconds_is_stalled() -> None:
    leg, watch = Counters(), Watch(0)
    leg.unsent = 5000
    looks = [watch.look(leg, second, 20) for second in range(int(STALL_SECONDS) + 1)]
    assert set(looks) == {None}
    assert watch.look(leg, STALL_SECONDS + 1, 20) is Trouble.STALLED


@pytest.mark.parametrize("sign", ["fewer bytes", "room again"])
def test_slow_peer_is_not_stalled(sign: str) -> None:
    leg, watch = Counters(), Watch(0)
    leg.unsent = 5000
    for second in range(100):
        if sign == "fewer bytes":
            leg.unsent -= 1
        else:
            leg.freed += 1
        assert watch.look(leg, second, None) is None
