"""HOST:PORT is read in every usual form, and a port that is taken is found out."""

import socket

import pytest

from gateway_site.bind import Bind, InvalidBind, accepts_connections, listen_problem, parse_bind
from tests.services.ports import free_port

READ = {
    "ipv4": ("127.0.0.1:8000", Bind("127.0.0.1", 8000), "127.0.0.1:8000"),
    "name": ("localhost:80", Bind("localhost", 80), "localhost:80"),
    "ipv6": ("[::1]:8000", Bind("::1", 8000), "[::1]:8000"),
    "every-address": (":8000", Bind("0.0.0.0", 8000), "0.0.0.0:8000"),
    "highest-port": ("a:65535", Bind("a", 65535), "a:65535"),
}
REFUSED = [
    "",
    "8000",
    "localhost",
    "localhost:",
    "localhost:http",
    "localhost:0",
    "localhost:65536",
    "a:-1",
    "a:٣",
]


@pytest.mark.parametrize("text, bind, shown", READ.values(), ids=READ.keys())
def test_address_is_read_and_shown(text: str, bind: Bind, shown: str) -> None:
    assert (parse_bind(text), str(parse_bind(text))) == (bind, shown)


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_address_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidBind, match="HOST:PORT"):
        parse_bind(text)


def test_free_port_has_no_problem_and_no_service() -> None:
    bind = Bind("127.0.0.1", free_port())
    assert (listen_problem(bind), accepts_connections(bind)) == (None, False)


def test_taken_port_is_found_out_even_when_it_could_be_shared() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        bind = Bind("127.0.0.1", listener.getsockname()[1])
        assert (listen_problem(bind), accepts_connections(bind)) == ("Address already in use", True)


def test_unknown_host_is_a_problem() -> None:
    assert listen_problem(Bind("no-such-host.invalid", 80)) is not None
