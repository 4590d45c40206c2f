"""Send records as RFC 5424 messages over TCP (RFC 6587, octet counting), TLS or UDP.

TCP tells nothing of what the server has stored: what is in flight when it dies is lost there, and a
batch that failed half-way comes again whole, with the same event ids (as MSGID's STRUCTURED-DATA).
"""

import socket
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

import orjson
from django.conf import settings

from auditlog.sinks.sink import Frame, SinkMisconfigured, SinkUnavailable, json_line

FACILITY_AUDIT = 13
SEVERITY_NOTICE, SEVERITY_INFORMATIONAL = 5, 6
TIMEOUT_SECONDS = 10.0
DEFAULT_PORTS = {"tcp": 601, "tls": 6514, "udp": 514}
# RFC 5426 3.2: what every receiver must take is less; more than this no datagram carries.
LONGEST_DATAGRAM = 65_000
# RFC 5612's private enterprise number for examples: nobody else's.
ENTERPRISE = 32473


class SyslogSink:
    """One connection, opened when needed."""

    def __init__(self, scheme: str, host: str, port: int) -> None:
        self._scheme, self._address = scheme, (host, port)
        self._socket: socket.socket | None = None

    def deliver(self, frames: Sequence[Frame]) -> None:
        messages = [message(frame) for frame in frames]
        try:
            connection = self._connect()
            if self._scheme == "udp":
                for text in messages:
                    connection.send(text[:LONGEST_DATAGRAM])
                return
            self._check_alive(connection)
            connection.sendall(b"".join(b"%d %s" % (len(text), text) for text in messages))
        except OSError as error:
            self.close()
            raise SinkUnavailable(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> socket.socket:
        if self._socket is None:
            self._socket = self._open()
        return self._socket

    def _open(self) -> socket.socket:
        host, _ = self._address
        if self._scheme == "udp":
            family, kind, protocol, _, address = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
            datagrams = socket.socket(family, kind, protocol)
            datagrams.connect(address)
            return datagrams
        connection = socket.create_connection(self._address, TIMEOUT_SECONDS)
        if self._scheme == "tls":
            connection = ssl.create_default_context().wrap_socket(connection, server_hostname=host)
        return connection

    def _check_alive(self, connection: socket.socket) -> None:
        """A server that has closed shows it by an end of file; the first send after that would succeed."""
        connection.settimeout(0)
        try:
            if not connection.recv(1):
                raise ConnectionResetError("the server has closed the connection")
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        finally:
            connection.settimeout(TIMEOUT_SECONDS)


def message(frame: Frame) -> bytes:
    """One RFC 5424 message with the record as its text."""
    record = orjson.loads(frame.body)
    refused = record.get("decision") not in (None, "allow")
    priority = FACILITY_AUDIT * 8 + (SEVERITY_NOTICE if refused else SEVERITY_INFORMATIONAL)
    host = _word(str(record["node"]), 255)
    data = f'[event@{ENTERPRISE} id="{record["event_id"]}"]'
    head = f"<{priority}>1 {record['time']} {host} gatehouse - {_word(record['event'], 32)} {data} "
    # The byte order mark says that the text is UTF-8 (RFC 5424 6.4).
    return head.encode() + b"\xef\xbb\xbf" + json_line(frame)


def open_sink() -> SyslogSink:
    url = urlsplit(settings.GATEWAY_AUDIT_SYSLOG_URL)
    if url.scheme not in DEFAULT_PORTS or not url.hostname:
        raise SinkMisconfigured(
            "the syslog sink needs GATEWAY_AUDIT_SYSLOG_URL: tcp, tls or udp://HOST[:PORT]"
        )
    return SyslogSink(url.scheme, url.hostname, url.port or DEFAULT_PORTS[url.scheme])


def _word(text: str, limit: int) -> str:
    """PRINTUSASCII of a header field; `-` stands for nothing."""
    return "".join(character for character in text if "!" <= character <= "~")[:limit] or "-"
