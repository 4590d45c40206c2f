"""Ids that tie a request together, taken over only when they are well-formed."""

import os
import uuid

import pytest

from routing.pipeline import ids

TRACE = "0af7651916cd43dd8448eb211c80319c"
AS_UUID = str(uuid.UUID(TRACE))
PARENT = "b7ad6b7169203331"

TRACES = {
    "none": (None, None, None),
    "traceparent": (f"00-{TRACE}-{PARENT}-01", None, AS_UUID),
    "trace-id": (None, AS_UUID, AS_UUID),
    "trace-id-upper": (None, AS_UUID.upper(), AS_UUID),
    "traceparent-wins": (f"00-{TRACE}-{PARENT}-00", str(uuid.uuid4()), AS_UUID),
    "bad-traceparent-good-trace-id": ("junk", AS_UUID, AS_UUID),
    "later-version": (f"01-{TRACE}-{PARENT}-01-more", None, AS_UUID),
    "version-00-with-more": (f"00-{TRACE}-{PARENT}-01-more", None, None),
    "version-ff": (f"ff-{TRACE}-{PARENT}-01", None, None),
    "zero-trace": (f"00-{'0' * 32}-{PARENT}-01", None, None),
    "zero-parent": (f"00-{TRACE}-{'0' * 16}-01", None, None),
    "upper-case": (f"00-{TRACE.upper()}-{PARENT}-01", None, None),
    "short": (f"00-{TRACE[1:]}-{PARENT}-01", None, None),
    "line-feed": (f"00-{TRACE}-{PARENT}-01\n", None, None),
    "zero-trace-id": (None, "00000000-0000-0000-0000-000000000000", None),
    "trace-id-no-uuid": (None, "x" * 36, None),
    "trace-id-line-feed": (None, AS_UUID + "\n", None),
}


@pytest.mark.parametrize("traceparent, trace_id, continued", TRACES.values(), ids=TRACES.keys())
def test_only_a_well_formed_trace_is_continued(
    traceparent: str | None, trace_id: str | None, continued: str | None
) -> None:
    sent = [None if text is None else text.encode() for text in (traceparent, trace_id)]
    assert ids.trace_id_from(*sent) == continued


@pytest.mark.parametrize(
    "value, taken",
    [
        (b"abc-123", "abc-123"),
        (b"x" * 128, "x" * 128),
        (b"x" * 129, None),
        (b"", None),
        (b"a b", None),
        (b"a\r\nb", None),
        (b"a\n", None),
        (b"caf\xe9", None),
        (b"a\x00", None),
        (None, None),
    ],
    ids=["plain", "longest", "too-long", "empty", "space", "crlf", "lf", "latin-1", "nul", "none"],
)
def test_only_a_harmless_request_id_is_taken_over(value: bytes | None, taken: str | None) -> None:
    assert ids.request_id_from(value) == taken


def test_new_ids_are_random_uuids_of_version_4() -> None:
    made = [ids.new_uuid() for _ in range(2000)]
    assert len(set(made)) == 2000
    for text in made:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)


def test_outgoing_traceparent_is_well_formed() -> None:
    made = ids.traceparent(AS_UUID, ids.new_ids()[1])
    assert ids.trace_id_from(made.encode(), None) == AS_UUID


def test_forked_process_makes_other_ids() -> None:
    ids.new_uuid()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, ids.new_uuid().encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 36).decode() != ids.new_uuid()
    os.close(reader)
    os.close(writer)
