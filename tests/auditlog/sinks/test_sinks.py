"""Every sink stores what it is given, once where it can, and tells an outage from a refusal."""

import gzip
import hashlib
import hmac
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import redis

from auditlog.carrier import pack, unpack
from auditlog.chain import link
from auditlog.sinks import open_sink
from auditlog.sinks.file import FileSink
from auditlog.sinks.redis_stream import RedisStreamSink
from auditlog.sinks.sink import Frame, SinkMisconfigured, SinkRejected, SinkUnavailable
from auditlog.sinks.stdout import StdoutSink
from auditlog.sinks.syslog import SyslogSink, message
from auditlog.sinks.webhook import WebhookSink
from tests.auditlog.frames import make_frames
from tests.auditlog.webhook_receiver import WebhookReceiver
from tests.services.deadline import wait_until
from tests.services.redis import RedisServer

NASTY = 'é "quoted" \\ back\nslash\x00'


def event_ids(frames: list[Frame]) -> list[str]:
    return [orjson.loads(frame.body)["event_id"] for frame in frames]


# --- file -----------------------------------------------------------------------------------


def test_file_holds_one_line_a_record_that_proves_itself(tmp_path: Path) -> None:
    frames = make_frames(3, path=NASTY)
    sink = FileSink(tmp_path / "audit.jsonl", 0, 3, fsync=True)
    sink.deliver(frames)
    lines = (tmp_path / "audit.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["event_id"] for line in lines] == event_ids(frames)
    assert lines[0].endswith(b',"hash":"' + link(bytes(32), frames[0].body).hex().encode() + b'"}')


def test_file_is_rotated_compressed_and_old_ones_go(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "audit.jsonl", 2000, 2, fsync=False)
    batches = [make_frames(10) for _ in range(4)]
    for batch in batches:
        sink.deliver(batch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.jsonl.1.gz", "audit.jsonl.2.gz"]
    newest = gzip.decompress((tmp_path / "audit.jsonl.1.gz").read_bytes()).splitlines()
    assert [json.loads(line)["event_id"] for line in newest] == event_ids(batches[-1])


def test_file_that_logrotate_moved_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    sink = FileSink(path, 0, 2, fsync=False)
    sink.deliver(make_frames(1))
    path.rename(tmp_path / "moved")
    sink.deliver(make_frames(1))
    assert len(path.read_bytes().splitlines()) == 1


def test_line_that_a_killed_writer_left_broken_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"whole":1}\n{"brok')
    FileSink(path, 0, 2, fsync=False).deliver(make_frames(1))
    assert [line[:8] for line in path.read_bytes().splitlines()] == [b'{"whole"', b'{"schema']


def test_disk_that_is_full_in_the_middle_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    sink = FileSink(path, 0, 2, fsync=False)
    sink.deliver(make_frames(1))
    before = path.read_bytes()
    real_write = __import__("os").write

    def write(descriptor: int, data: bytes) -> int:
        if len(data) < 200:
            raise OSError(28, "No space left on device")
        return real_write(descriptor, data[: len(data) - 100])

    monkeypatch.setattr("os.write", write)
    with pytest.raises(SinkUnavailable):
        sink.deliver(make_frames(2))
    assert path.read_bytes() == before


# --- stdout ---------------------------------------------------------------------------------


def test_stdout_gets_whole_lines(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    frames = make_frames(2, path=NASTY)
    StdoutSink().deliver(frames)
    assert [json.loads(line)["event_id"] for line in capfdbinary.readouterr().out.splitlines()] == event_ids(
        frames
    )


# --- webhook --------------------------------------------------------------------------------


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    receiver = WebhookReceiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def webhook(receiver: WebhookReceiver) -> Iterator[WebhookSink]:
    sink = WebhookSink(receiver.url, "shared secret")
    yield sink
    sink.close()


def test_webhook_is_signed_over_time_and_body(webhook: WebhookSink, receiver: WebhookReceiver) -> None:
    frames = make_frames(3, path=NASTY)
    webhook.deliver(frames)
    headers, body = receiver.requests[0]
    parts = dict(part.split("=", 1) for part in headers["X-Gateway-Audit-Signature"].split(","))
    expected = hmac.new(b"shared secret", parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(parts["v1"], expected)
    assert [record["event_id"] for record in json.loads(body)["records"]] == event_ids(frames)


def test_webhook_repeats_the_same_idempotency_key(webhook: WebhookSink, receiver: WebhookReceiver) -> None:
    frames = make_frames(2)
    webhook.deliver(frames)
    webhook.deliver(frames)
    webhook.deliver(make_frames(2))
    keys = [headers["Idempotency-Key"] for headers, _ in receiver.requests]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503, 302])
def test_webhook_that_does_not_take_the_batch_is_an_outage(
    webhook: WebhookSink, receiver: WebhookReceiver, status: int
) -> None:
    receiver.status = status
    with pytest.raises(SinkUnavailable):
        webhook.deliver(make_frames(2))


def test_webhook_that_takes_half_of_a_batch_names_the_rest(
    webhook: WebhookSink, receiver: WebhookReceiver
) -> None:
    frames = make_frames(4)
    refused = event_ids(frames)[1::2]
    receiver.answer = json.dumps({"rejected": {**dict.fromkeys(refused, "no"), "made up": "x"}}).encode()
    with pytest.raises(SinkRejected) as refusal:
        webhook.deliver(frames)
    assert refusal.value.reasons == {1: "no", 3: "no"}


@pytest.mark.parametrize("answer", [b"ok", b"[]", b'{"rejected": 5}', b"x" * 2_000_000])
def test_webhook_answer_that_says_nothing_is_a_success(
    webhook: WebhookSink, receiver: WebhookReceiver, answer: bytes
) -> None:
    receiver.answer = answer
    webhook.deliver(make_frames(1))


def test_webhook_that_refuses_the_request_refuses_the_records(
    webhook: WebhookSink, receiver: WebhookReceiver
) -> None:
    receiver.status = 422
    with pytest.raises(SinkRejected):
        webhook.deliver(make_frames(2))


def test_webhook_nobody_listens_on_is_an_outage() -> None:
    sink = WebhookSink("http://127.0.0.1:9/", "secret")
    with pytest.raises(SinkUnavailable):
        sink.deliver(make_frames(1))
    sink.close()


# --- syslog ---------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        yield server


def test_syslog_frames_messages_by_their_length(listener: socket.socket) -> None:
    frames = make_frames(3, path=NASTY)
    sink = SyslogSink("tcp", "127.0.0.1", listener.getsockname()[1])
    sink.deliver(frames)
    connection, _ = listener.accept()
    sink.close()
    with connection:
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    texts = []
    while received:
        length, _, rest = received.partition(b" ")
        texts.append(rest[: int(length)])
        received = rest[int(length) :]
    assert texts == [message(frame) for frame in frames]
    assert texts[0].startswith(b"<110>1 20")
    assert json.loads(texts[0].partition(b"\xef\xbb\xbf")[2])["event_id"] == event_ids(frames)[0]


def test_syslog_tells_refusals_by_severity() -> None:
    (frame,) = make_frames(1, decision="grant_missing", status=403)
    assert message(frame).startswith(b"<109>1 ")


def test_syslog_server_that_has_closed_is_noticed_before_the_next_batch(listener: socket.socket) -> None:
    sink = SyslogSink("tcp", "127.0.0.1", listener.getsockname()[1])
    sink.deliver(make_frames(1))
    connection, _ = listener.accept()
    connection.recv(65536)
    connection.close()

    def noticed() -> bool:
        try:
            sink.deliver(make_frames(1))
        except SinkUnavailable:
            return True
        return False

    wait_until(noticed, "the closed connection")
    sink.close()


def test_syslog_over_udp_sends_one_datagram_a_record() -> None:
    frames = make_frames(2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        sink = SyslogSink("udp", "127.0.0.1", server.getsockname()[1])
        sink.deliver(frames)
        assert [server.recv(65536) for _ in frames] == [message(frame) for frame in frames]
        sink.close()


# --- redis stream ---------------------------------------------------------------------------


def test_stream_holds_each_record_once_and_stays_short(redis_server: RedisServer) -> None:
    sink = RedisStreamSink(redis_server.url, "audit:once", 1000)
    frames = make_frames(10)
    sink.deliver(frames)
    sink.deliver(frames)
    with redis.Redis.from_url(redis_server.url) as client:
        entries = client.xrange("audit:once")
        assert [fields[b"event_id"].decode() for _, fields in entries] == event_ids(frames)
        assert json.loads(entries[0][1][b"record"])["node"] == "node-1"
        for _ in range(3):
            sink.deliver(make_frames(1000))
        # Redis trims whole nodes of 100 entries.
        assert client.xlen("audit:once") <= 1200
    sink.close()


def test_redis_that_is_down_is_an_outage_and_comes_back(own_redis: RedisServer) -> None:
    sink = RedisStreamSink(own_redis.url, "audit", 1000)
    own_redis.stop()
    with pytest.raises(SinkUnavailable):
        sink.deliver(make_frames(1))
    own_redis.start()
    sink.deliver(make_frames(1))
    sink.close()


# --- kafka ----------------------------------------------------------------------------------


def test_kafka_acknowledges_every_record() -> None:
    confluent_kafka = pytest.importorskip("confluent_kafka")
    from auditlog.sinks.kafka import KafkaSink

    sink = KafkaSink({"test.mock.num.brokers": 3}, "audit")
    frames = make_frames(50)
    sink.deliver(frames)
    brokers = ",".join(
        f"{broker.host}:{broker.port}" for broker in sink._producer.list_topics(timeout=5).brokers.values()
    )
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": brokers, "group.id": "tests", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["audit"])
    received = consumer.consume(50, timeout=20)
    consumer.close()
    assert [dict(entry.headers())["event_id"].decode() for entry in received] == event_ids(frames)
    assert len({entry.key() for entry in received}) == 1
    sink.close()


def test_kafka_without_brokers_is_an_outage() -> None:
    pytest.importorskip("confluent_kafka")
    from auditlog.sinks.kafka import KafkaSink

    sink = KafkaSink({"bootstrap.servers": "127.0.0.1:9", "delivery.timeout.ms": 500}, "audit")
    with pytest.raises(SinkUnavailable):
        sink.deliver(make_frames(2))


# --- choosing -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nosuch", "sink", "../file", "os", ""])
def test_name_of_no_sink_is_refused(name: str) -> None:
    with pytest.raises(SinkMisconfigured):
        open_sink(name)


@pytest.mark.parametrize("name", ["webhook", "syslog", "redis_stream", "kafka", "clickhouse"])
def test_sink_without_its_settings_says_which(name: str) -> None:
    with pytest.raises(SinkMisconfigured, match=r"GATEWAY_\w+"):
        open_sink(name)


@pytest.mark.parametrize("name", ["database", "file", "stdout"])
def test_sink_that_needs_no_settings_opens(name: str) -> None:
    open_sink(name).close()


def test_batch_survives_its_way_through_a_message() -> None:
    frames = make_frames(20, path=NASTY)
    assert unpack(pack(frames)) == frames
