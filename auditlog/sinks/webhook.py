"""POST batches of records as JSON to a URL, signed with HMAC-SHA-256.

The receiver checks `X-Gateway-Audit-Signature`: `t=SECONDS,v1=HEX`, HEX being the HMAC of
`SECONDS.BODY` under the shared secret. `Idempotency-Key` is the digest of the batch; a receiver
drops what it has by event id. Answers: 2xx is taken; 2xx with `{"rejected": {"EVENT ID": "why"}}`
is taken but for those; 400, 413 and 422 are a refusal; anything else is an outage.
"""

import hashlib
import hmac
import time
from collections.abc import Sequence

import httpx
import orjson
from django.conf import settings

from auditlog.sinks.sink import Frame, SinkMisconfigured, SinkRejected, SinkUnavailable, json_line

TIMEOUT = httpx.Timeout(15.0, connect=5.0)
REFUSALS = frozenset({400, 413, 422})
LONGEST_ANSWER_BYTES = 1 << 20


class WebhookSink:
    """One client, kept alive between batches."""

    def __init__(self, url: str, secret: str) -> None:
        self._url, self._secret = url, secret.encode()
        self._client = httpx.Client(timeout=TIMEOUT, trust_env=False, follow_redirects=False)

    def deliver(self, frames: Sequence[Frame]) -> None:
        body = b'{"records":[%s]}' % b",".join(json_line(frame) for frame in frames)
        try:
            with self._client.stream(
                "POST", self._url, content=body, headers=self._headers(body)
            ) as response:
                answer = _read_bounded(response)
        except httpx.HTTPError as error:
            raise SinkUnavailable(f"{type(error).__name__}: {error}") from error
        if response.status_code in REFUSALS:
            raise SinkRejected(dict.fromkeys(range(len(frames)), f"answered {response.status_code}"))
        if not response.is_success:
            raise SinkUnavailable(f"answered {response.status_code}")
        rejected = _rejected(answer, frames)
        if rejected:
            raise SinkRejected(rejected)

    def close(self) -> None:
        self._client.close()

    def _headers(self, body: bytes) -> dict[str, str]:
        seconds = str(int(time.time()))
        signature = hmac.new(self._secret, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json",
            "Idempotency-Key": hashlib.sha256(body).hexdigest(),
            "X-Gateway-Audit-Signature": f"t={seconds},v1={signature}",
        }


def open_sink() -> WebhookSink:
    if not settings.GATEWAY_AUDIT_WEBHOOK_URL.startswith(("http://", "https://")):
        raise SinkMisconfigured("the webhook sink needs GATEWAY_AUDIT_WEBHOOK_URL, an http or https URL")
    if not settings.GATEWAY_AUDIT_WEBHOOK_SECRET:
        raise SinkMisconfigured("the webhook sink needs GATEWAY_AUDIT_WEBHOOK_SECRET to sign with")
    return WebhookSink(settings.GATEWAY_AUDIT_WEBHOOK_URL, settings.GATEWAY_AUDIT_WEBHOOK_SECRET)


def _read_bounded(response: httpx.Response) -> bytes:
    answer = b""
    for chunk in response.iter_bytes():
        answer += chunk
        if len(answer) > LONGEST_ANSWER_BYTES:
            return b""
    return answer


def _rejected(answer: bytes, frames: Sequence[Frame]) -> dict[int, str]:
    """Positions of the records that the answer names; ids it makes up are passed over."""
    try:
        named = orjson.loads(answer)["rejected"]
        reasons = {str(event_id): str(reason)[:200] for event_id, reason in named.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    ids = [orjson.loads(frame.body)["event_id"] for frame in frames]
    return {index: reasons[event_id] for index, event_id in enumerate(ids) if event_id in reasons}
