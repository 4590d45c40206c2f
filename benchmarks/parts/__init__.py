"""Everything that `make bench` measures: one file a part, registered here in the order of the report.

A further part (a WebSocket echo, say) is one more file
with a PART of its own and one more line below.
"""

from __future__ import annotations

from benchmarks.parts import audit, comparison, matching, revocation, startup, transfer, websocket
from benchmarks.parts.part import Part

PARTS: list[Part] = [
    comparison.PART,
    matching.PART,
    startup.PART,
    revocation.PART,
    transfer.PART,
    websocket.PART,
    audit.PART,
]
