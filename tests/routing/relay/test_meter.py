"""A connection's own limits, with the clock handed in."""

from routing.relay.meter import Meter


def test_one_seconds_worth_passes_at_once_and_no_more() -> None:
    meter = Meter(10, None, now=0.0)
    assert [meter.take(1, 0.0) for _ in range(11)] == [True] * 10 + [False]


def test_allowance_grows_back_with_time_and_never_beyond_a_second() -> None:
    meter = Meter(10, None, now=0.0)
    for _ in range(10):
        meter.take(1, 0.0)
    assert [meter.take(1, 0.2) for _ in range(3)] == [True, True, False]
    assert [meter.take(1, 100.0) for _ in range(11)] == [True] * 10 + [False]


def test_bytes_are_counted_beside_messages() -> None:
    meter = Meter(None, 1000, now=0.0)
    assert meter.take(900, 0.0)
    assert not meter.take(200, 0.0)


def test_message_larger_than_a_seconds_bytes_never_passes() -> None:
    assert not Meter(None, 1000, now=0.0).take(1001, 50.0)


def test_without_limits_everything_passes() -> None:
    meter = Meter(None, None, now=0.0)
    assert all(meter.take(10**9, 0.0) for _ in range(1000))
