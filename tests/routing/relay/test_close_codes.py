"""RFC 6455 7.4: what may stand in a close frame."""

import pytest

from routing.pipeline.errors import CredentialMissing, GrantMissing, NotReady, TooManyConnections
from routing.relay import close_codes


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_code_that_may_be_sent_passes(code: int) -> None:
    assert close_codes.sendable(code) == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1006, 1015, 1016, 2000, 2999, 5000, 65535])
def test_code_that_may_not_be_sent_becomes_a_protocol_error(code: int) -> None:
    assert close_codes.sendable(code) == 1002


@pytest.mark.parametrize("code", [None, 1005])
def test_close_without_a_code_stays_without_one(code: int | None) -> None:
    assert close_codes.sendable(code) is None


@pytest.mark.parametrize(
    "payload, read",
    [
        pytest.param(b"", (1005, ""), id="empty"),
        pytest.param(b"\x03", None, id="one byte"),
        pytest.param(b"\x03\xe8", (1000, ""), id="code only"),
        pytest.param(b"\x0f\xa0" + "grüße".encode(), (4000, "grüße"), id="code and reason"),
        pytest.param(b"\x03\xe8\xff", None, id="reason not UTF-8"),
        pytest.param(b"\x03\xed", None, id="1005 in a frame"),
        pytest.param(b"\x03\xee", None, id="1006 in a frame"),
    ],
)
def test_close_frame_is_read_or_found_malformed(payload: bytes, read: tuple[int, str] | None) -> None:
    assert close_codes.read_close(payload) == read


def test_reason_is_cut_between_characters_to_what_a_control_frame_holds() -> None:
    payload = close_codes.close_payload(1000, "ü" * 100)
    assert len(payload) <= 125
    assert payload[2:].decode() == "ü" * 61


@pytest.mark.parametrize(
    "error, code",
    [(CredentialMissing(), 4401), (GrantMissing(), 4403), (TooManyConnections(), 4429), (NotReady(), 4503)],
)
def test_refusal_has_a_close_code_of_its_status(error: Exception, code: int) -> None:
    assert close_codes.close_code_of(error) == code  # type: ignore[arg-type]
