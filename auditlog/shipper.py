"""Ship the spool of this host to the sinks. One shipper a spool; a second one waits for its turn.

A thread per sink delivers and one applies the retention; this module starts them, removes what every
sink has, anchors the heads of all chains in its own and reports figures.
"""

import fcntl
import logging
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from auditlog import recorder, retention
from auditlog.carrier import Carry, choose_carrier, close_sinks
from auditlog.delivery import Delivery, Undeliverable
from auditlog.models import ShipperStatus
from auditlog.reader import Head
from auditlog.retirement import Retirement
from auditlog.spool import prepare_directory, spool_bytes

logger = logging.getLogger("gatehouse.audit")

SPOOL_RETRY_SECONDS = 1.0
SWEEP_SECONDS = 1.0
STATUS_SECONDS = 5.0
ANCHOR_SECONDS = 60.0
ANCHORED_CHAINS = 100
REMEMBERED_CHAINS = 2000
LOCK_FILE = "shipper.lock"
STATE_FILE = "shipper.json"


def run(stop: threading.Event, carry: Carry | None = None) -> None:
    """Ship until `stop` is set; the batches at hand are finished first."""
    directory = Path(settings.GATEWAY_AUDIT_SPOOL_DIR)
    descriptor = _open_lock(directory, stop)
    if descriptor is None:
        return
    try:
        if _lock(descriptor, stop):
            Shipper(directory, settings.GATEWAY_AUDIT_SINKS, carry or choose_carrier(), stop).run()
    finally:
        os.close(descriptor)


def _open_lock(directory: Path, stop: threading.Event) -> int | None:
    """Wait until the spool can be written to: a disk that is mounted read-only may be mended meanwhile."""
    told = False
    while not stop.is_set():
        try:
            prepare_directory(directory)
            return os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if not told:
                logger.error("the audit spool can't be written to, nothing is shipped: %s", error)
                told = True
            stop.wait(SPOOL_RETRY_SECONDS)
    return None


def _lock(descriptor: int, stop: threading.Event) -> bool:
    """Wait until no other shipper serves this spool; False when stopped before."""
    told = False
    while not stop.is_set():
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if not told:
                logger.info("another audit shipper serves this spool; waiting for it to end")
                told = True
            stop.wait(0.5)
    return False


class Shipper:
    """The deliveries of one spool and what is done around them."""

    def __init__(self, directory: Path, sinks: list[str], carry: Carry, stop: threading.Event) -> None:
        self._directory = directory
        self._stop = stop
        self._node = settings.GATEWAY_NODE or socket.gethostname()
        self.deliveries = [Delivery(directory, sink, carry, stop, self._report_aside) for sink in sinks]
        state = _load_state(directory)
        self._anchored: dict[str, int] = state["anchored"]
        self._retirement = Retirement(
            directory,
            recorder.record,
            settings.GATEWAY_AUDIT_SPOOL_DAYS * 86400.0,
            state["expected"],
            self._save_state,
        )
        self._swept_at = self._reported_at = 0.0
        self._anchored_at = time.monotonic()

    def run(self) -> None:
        threads = [
            threading.Thread(target=delivery.run, name=f"audit-{delivery.sink}", daemon=True)
            for delivery in self.deliveries
        ]
        threads.append(
            threading.Thread(target=retention.keep, args=(self._stop,), name="audit-retention", daemon=True)
        )
        for thread in threads:
            thread.start()
        while not self._stop.wait(0.25):
            self.tick(time.monotonic())
        for thread in threads:
            thread.join(timeout=20)
        self._anchor()
        self._sweep()
        self._report_status()
        close_sinks()

    def tick(self, now: float) -> None:
        """Do what is due. A failure of one duty is logged and tried again at its next turn."""
        try:
            if now - self._swept_at >= SWEEP_SECONDS:
                self._swept_at = now
                self._sweep()
            if now - self._anchored_at >= ANCHOR_SECONDS:
                self._anchored_at = now
                self._anchor()
            if now - self._reported_at >= STATUS_SECONDS:
                self._reported_at = now
                self._report_status()
        except Exception:
            logger.exception("the audit shipper could not do one of its duties")

    def _sweep(self) -> None:
        gone = self._retirement.sweep([delivery.cursor for delivery in self.deliveries])
        if gone:
            for delivery in self.deliveries:
                delivery.forget(gone)
            self._save_state()

    def _anchor(self) -> None:
        """Note in this process's chain how far the others have come: their tails can't vanish unseen."""
        own = str(recorder.start().chain)
        moved = {
            chain: head
            for chain, head in self._heads().items()
            if chain != own and head.sequence > self._anchored.get(chain, -1)
        }
        chains = sorted(moved)
        for start in range(0, len(chains), ANCHORED_CHAINS):
            part = chains[start : start + ANCHORED_CHAINS]
            heads = {chain: _anchor_text(moved[chain]) for chain in part}
            recorder.record("chains_anchored", {"heads": heads})
        if chains:
            self._anchored |= {chain: head.sequence for chain, head in moved.items()}
            self._save_state()

    def _heads(self) -> dict[str, Head]:
        """The last record of each chain that every sink has: what an anchor names, each must show."""
        first, *others = (dict(delivery.heads) for delivery in self.deliveries)
        return {
            chain: min([head, *(heads[chain] for heads in others)])
            for chain, head in first.items()
            if all(chain in heads for heads in others)
        }

    def _save_state(self) -> None:
        state = {"expected": self._retirement.expected, "anchored": self._anchored}
        for known in state.values():
            for chain in sorted(known)[:-REMEMBERED_CHAINS]:
                del known[chain]
        temporary = self._directory / f"{STATE_FILE}.tmp"
        temporary.write_bytes(orjson.dumps(state))
        temporary.replace(self._directory / STATE_FILE)

    def _report_aside(self, aside: Undeliverable) -> None:
        fields = {"sink": aside.sink, "count": aside.count, "reason": aside.reason}
        recorder.record("records_undeliverable", fields)

    def _report_status(self) -> None:
        """Say how each sink does. Only a report: the database may be down, and shipping goes on."""
        used = spool_bytes(self._directory)
        try:
            for delivery in self.deliveries:
                figures: dict[str, Any] = {
                    "delivered": delivery.cursor.delivered,
                    "failed": delivery.state.failed,
                    "undeliverable": delivery.cursor.undeliverable,
                    "lag_seconds": delivery.state.lag_seconds,
                    "spool_bytes": used,
                    "last_error": delivery.state.last_error,
                    "updated_at": timezone.now(),
                }
                key = {"node": self._node, "sink": delivery.sink}
                ShipperStatus.objects.update_or_create(**key, defaults=figures)
        except DatabaseError as error:
            logger.warning("audit figures not reported: %s", type(error).__name__)
            connection.close()


def _anchor_text(head: Head) -> list[Any]:
    return [head.sequence, head.digest.hex(), head.time]


def _load_state(directory: Path) -> dict[str, dict[str, int]]:
    try:
        state = orjson.loads((directory / STATE_FILE).read_bytes())
        return {"expected": dict(state["expected"]), "anchored": dict(state["anchored"])}
    except FileNotFoundError:
        return {"expected": {}, "anchored": {}}
    except (ValueError, KeyError, TypeError):
        logger.exception("the audit shipper's state is damaged: gaps may be reported twice")
        return {"expected": {}, "anchored": {}}
