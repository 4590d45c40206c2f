"""Write into the database which revision this process serves, and how its audit does. Synchronous."""

import os
import socket
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from auditlog import recorder as audit
from routing.key_usage import KeyUsage
from routing.models import Worker

FORGOTTEN_AFTER = timedelta(days=1)


def node_name() -> str:
    return settings.GATEWAY_NODE or socket.gethostname()


class WorkerReport:
    """The row of this process, and what it saw of its keys' use."""

    def __init__(self, role: str, usage: KeyUsage) -> None:
        self._usage = usage
        self._node = node_name()
        self._role = role
        self._started_at = timezone.now()
        self._written = False

    def write(self, revision: int, problem: str) -> None:
        now = timezone.now()
        recorded, dropped = audit.figures()
        Worker.objects.update_or_create(
            node=self._node,
            pid=os.getpid(),
            defaults={
                "role": self._role,
                "revision": revision,
                "problem": problem,
                "audit_recorded": recorded,
                "audit_dropped": dropped,
                "started_at": self._started_at,
                "seen_at": now,
            },
        )
        self._usage.write_when_due()
        if not self._written:
            self._written = True
            Worker.objects.filter(seen_at__lt=now - FORGOTTEN_AFTER).delete()

    def withdraw(self) -> None:
        """The process ends in good order: its row goes with it."""
        self._usage.write()
        Worker.objects.filter(node=self._node, pid=os.getpid()).delete()
