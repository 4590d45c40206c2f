"""Read a spool directory the way the shipper does, blocks expanded, for assertions."""

import os
from pathlib import Path
from typing import Any

import orjson

from auditlog.block import expand
from auditlog.segment import Frame, read_frames
from auditlog.spool import segment_paths


def spooled_frames(directory: Path) -> list[Frame]:
    frames: list[Frame] = []
    for path in segment_paths(directory):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            for frame in read_frames(descriptor, 0, 10_000_000).frames:
                frames += expand(frame)
        finally:
            os.close(descriptor)
    return frames


def spooled_records(directory: Path, *events: str) -> list[dict[str, Any]]:
    """All records in the spool, or those of the named events."""
    records = [orjson.loads(frame.body) for frame in spooled_frames(directory)]
    return [record for record in records if not events or record["event"] in events]
