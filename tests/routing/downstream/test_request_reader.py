"""The same bytes are the same requests, wherever the network cuts them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.downstream.call import Call
from routing.downstream.request_reader import RequestReader

HOST = b"Host: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
UPGRADE = b"Upgrade: h2c\r\nConnection: upgrade\r\n"
WELL_FORMED = [
    b"GET /1?a=%20 HTTP/1.1\r\n" + HOST + b"X-A:\tone \r\nX-Empty:\r\nX-B: \r\n\r\n",
    b"HEAD /2 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"POST /3 HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello",
    b"PUT /4 HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n",
    b"\r\n\r\nDELETE /5 HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n",
    b"GET /6 HTTP/1.1\r\n" + HOST + UPGRADE + b"\r\n",
    b"GET http://a/7 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /8 HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\n\r\n",
    b"POST /9 HTTP/1.1\r\n" + HOST + UPGRADE + b"Content-Length: 00\r\n\r\n",
]
# Whatever follows one of these is not read.
ENDING = [
    b"GET /close HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
    b"POST /upgrade HTTP/1.1\r\n" + HOST + UPGRADE + b"Content-Length: 40\r\n\r\n",
    b"POST /upgrade HTTP/1.1\r\n" + HOST + UPGRADE + CHUNKED + b"\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /old HTTP/1.0\r\n" + HOST + b"\r\n",
    b"GET /two HTTP/2.0\r\n" + HOST + b"\r\n",
    b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /lf HTTP/1.1\n" + HOST + b"\n",
    b"GET /fold HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
    b"GET /colon HTTP/1.1\r\nX : a\r\n\r\n",
    b"POST /both HTTP/1.1\r\nContent-Length: 3\r\n" + CHUNKED + b"\r\nabc",
    b"POST /twice HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /coding HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST /chunk HTTP/1.1\r\n" + CHUNKED + b"\r\n3\r\nabcd\r\n0\r\n\r\n",
    b"POST /size HTTP/1.1\r\n" + CHUNKED + b"\r\n-3\r\nabc\r\n0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


class Reader(RequestReader):
    """Keeps what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def feed(self, data: bytes) -> None:
        if not self._refused and data:
            self._read(data)

    def _enqueue(self, call: Call) -> None:
        self.calls.append(call)

    def _check_pipeline(self) -> None:
        pass

    def _is_answering(self, call: Call) -> bool:
        return False


def described(call: Call) -> tuple[Any, ...]:
    problem = call.scope.get("problem")
    if problem is not None:
        # How much of it was read by then depends on the cut; that it was refused, and as what, doesn't.
        return (problem.code, call.keep_alive)
    scope = call.scope
    return (
        scope["method"],
        scope["raw_path"],
        scope["query_string"],
        scope["headers"],
        b"".join(call._parts),
        call.body_complete,
        call.keep_alive,
        call.expects_continue,
        bool(call.problem),
    )


def read(*pieces: bytes) -> list[tuple[Any, ...]]:
    reader = Reader()
    for piece in pieces:
        reader.feed(piece)
    return [described(call) for call in reader.calls]


STREAMS = st.tuples(
    st.lists(st.sampled_from(WELL_FORMED), max_size=4).map(b"".join),
    st.sampled_from([b"", *ENDING]),
    st.lists(st.sampled_from(WELL_FORMED), max_size=2).map(b"".join),
).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(STREAMS, st.data())
def test_cuts_change_nothing(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(*pieces) == read(stream)


@settings(max_examples=60, deadline=None)
@given(STREAMS)
def test_single_bytes_are_read_as_one_packet_is(stream: bytes) -> None:
    assert read(*[stream[at : at + 1] for at in range(len(stream))]) == read(stream)


@pytest.mark.parametrize("ending", ENDING, ids=lambda ending: repr(ending[:20]))
def test_nothing_behind_the_end_is_a_request(ending: bytes) -> None:
    behind = b"GET /behind HTTP/1.1\r\n" + HOST + b"\r\n"
    for pieces in ([ending + behind], [ending, behind], [WELL_FORMED[0] + ending + behind]):
        assert all(b"/behind" not in call for call in read(*pieces))


@pytest.mark.parametrize("well_formed", WELL_FORMED, ids=lambda request: repr(request[:20]))
def test_every_request_is_one_call_and_the_next_is_another(well_formed: bytes) -> None:
    calls = read(well_formed * 3)
    assert len(calls) == 3
    assert calls[0] == calls[1] == calls[2]


def test_refusal_has_nothing_of_the_request_before() -> None:
    reader = Reader()
    reader.feed(b"GET /before?a=1 HTTP/1.1\r\nHost: a\r\nCookie: secret\r\nConnection: close\r\n\r\n")
    reader.feed(b"GET /x HTTP/1.1\r\n\r\n")
    before, refused = reader.calls
    assert before.scope["raw_path"] == b"/before"
    assert (refused.scope["raw_path"], refused.scope["query_string"], refused.scope["headers"]) == (
        b"",
        b"",
        [],
    )


@pytest.mark.parametrize(
    "pieces", [[b"FETCH /x HTTP/1.1\r\nHost: a\r\n\r\n"], [b"FETCH /x HTT", b"P/1.1\r\n\r\n"]]
)
def test_method_that_is_none_is_refused_by_its_name(pieces: list[bytes]) -> None:
    reader = Reader()
    for piece in pieces:
        reader.feed(piece)
    (refused,) = reader.calls
    assert refused.scope["method"] == "FETCH"
    assert refused.scope["problem"].code == "bad_method"


@pytest.mark.parametrize("cut", range(1, 6))
def test_method_of_which_a_part_has_come_is_not_recorded_as_a_method(cut: int) -> None:
    """Whoever reads the audit would take FETC for what was sent."""
    reader = Reader()
    sent = b"FETCH /x HTTP/1.1\r\n" + HOST + b"\r\n"
    reader.feed(sent[:cut])
    reader.feed(sent[cut:])
    (call,) = reader.calls
    assert call.scope["problem"].code == "bad_method"
    assert call.scope["method"] in ("FETCH", "")
