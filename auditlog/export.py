"""Write records of a period to a stream as JSON lines, CSV or Parquet, without holding them in memory."""

import csv
import io
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any, BinaryIO

import orjson

from auditlog.query import records
from auditlog.record import DATA_PLANE_FIELDS, ENVELOPE
from auditlog.segment import Frame
from auditlog.sinks.sink import json_line

FORMATS = ("jsonl", "csv", "parquet")
CHUNK = 2000
COLUMNS = (*ENVELOPE, *sorted(DATA_PLANE_FIELDS), "other", "hash")
WHOLE_NUMBERS = frozenset({"schema", "sequence", "status", "revision", "bytes_in", "bytes_out"})
# A spreadsheet takes such a cell for a formula and runs it.
_FORMULA_STARTS = ("=", "+", "-", "@")


class ExportImpossible(Exception):
    """The format needs a package that is not installed."""


def require(form: str) -> None:
    """Raises ExportImpossible. Asked before an output file is opened, and so emptied, for nothing."""
    if form != "parquet":
        return
    try:
        import pyarrow  # noqa: F401 - an optional package
    except ImportError as error:
        raise ExportImpossible("Parquet needs the package pyarrow: pip install pyarrow") from error


def export(
    stream: BinaryIO,
    form: str,
    since: datetime | None,
    until: datetime | None,
    progress: Callable[[int], None],
) -> int:
    """Write all records of the period, oldest first; returns how many. The form is one that `require` lets pass."""
    writer = {"jsonl": _write_lines, "csv": _write_csv, "parquet": _write_parquet}[form]
    return writer(stream, _counted(_frames(since, until), progress))


def _frames(since: datetime | None, until: datetime | None) -> Iterator[Frame]:
    rows = records().in_period(since, until).order_by("event_id").values_list("hash", "body")
    for digest, body in rows.iterator(chunk_size=CHUNK):
        yield Frame(bytes(digest), body.encode())


def _counted(frames: Iterator[Frame], progress: Callable[[int], None]) -> Iterator[Frame]:
    for number, frame in enumerate(frames, start=1):
        yield frame
        if number % CHUNK == 0:
            progress(number)


def _write_lines(stream: BinaryIO, frames: Iterator[Frame]) -> int:
    written = 0
    for frame in frames:
        stream.write(json_line(frame) + b"\n")
        written += 1
    return written


def _write_csv(stream: BinaryIO, frames: Iterator[Frame]) -> int:
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    written = 0
    for frame in frames:
        writer.writerow([_cell(value) for value in _values(frame)])
        written += 1
    text.detach()
    return written


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value


def _values(frame: Frame) -> list[Any]:
    """A record in the order of COLUMNS; what has no column is one JSON text under `other`."""
    record = orjson.loads(frame.body)
    values = [record.pop(name, None) for name in COLUMNS[:-2]]
    other = orjson.dumps(record).decode() if record else None
    return [*values, other, frame.digest.hex()]


def _write_parquet(stream: BinaryIO, frames: Iterator[Frame]) -> int:
    import pyarrow as arrow
    from pyarrow import parquet

    schema = arrow.schema([(name, _arrow_type(arrow, name)) for name in COLUMNS])
    written = 0
    with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        while chunk := list(islice(frames, CHUNK * 5)):
            columns = zip(*(_values(frame) for frame in chunk), strict=True)
            arrays = [
                arrow.array([_typed(name, value) for value in column], _arrow_type(arrow, name))
                for name, column in zip(COLUMNS, columns, strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            written += len(chunk)
    return written


def _arrow_type(arrow: Any, name: str) -> Any:
    if name in WHOLE_NUMBERS:
        return arrow.int64()
    return arrow.float64() if name.endswith("_ms") else arrow.string()


def _typed(name: str, value: Any) -> Any:
    """The value as its column's type; a record from elsewhere with another type becomes empty."""
    if value is None:
        return None
    if name in WHOLE_NUMBERS:
        return value if type(value) is int else None
    if name.endswith("_ms"):
        return float(value) if isinstance(value, int | float) else None
    return value if isinstance(value, str) else orjson.dumps(value).decode()
