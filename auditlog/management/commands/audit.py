"""`manage.py audit ship|verify|tail|export|retention`: the audit log from a terminal."""

import argparse
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from auditlog import recorder
from auditlog.sinks import open_sink
from auditlog.sinks.sink import SinkMisconfigured
from auditlog.verification import Finding, Summary

MOST_FINDINGS = 100
_PERIOD = ("since", "until")


class Command(BaseCommand):
    help = "Ship the audit spool to its sinks; verify, follow, export or shorten the audit log."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("ship", help="bring records from the spool to the sinks until stopped")
        verify = actions.add_parser("verify", help="find removed, altered, reordered or inserted records")
        verify.add_argument(
            "--file",
            type=Path,
            nargs="+",
            help="all files of the file sink together, rotated ones too (FILE*), or an export in lines",
        )
        tail = actions.add_parser("tail", help="show the last records of this host and new ones as they come")
        tail.add_argument("-n", "--lines", type=_count, default=20)
        tail.add_argument("--json", action="store_true", help="whole records, one JSON object a line")
        for name in ("principal", "route", "decision"):
            tail.add_argument(f"--{name}", default="")
        export = actions.add_parser("export", help="write records of a period, oldest first")
        export.add_argument("--format", choices=("jsonl", "csv", "parquet"), default="jsonl")
        export.add_argument("--since", type=_moment, help="time in ISO 8601; UTC without a zone")
        export.add_argument("--until", type=_moment)
        export.add_argument("--output", type=Path, help="default: standard output")
        actions.add_parser(
            "retention",
            help="remove records older than GATEWAY_AUDIT_RETENTION_DAYS from the database now; "
            "the shipper does so once a day",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, f"_{options['action']}")(argparse.Namespace(**options))

    def _ship(self, options: argparse.Namespace) -> None:
        from auditlog.shipper import run

        if not settings.GATEWAY_AUDIT_SINKS:
            raise CommandError("GATEWAY_AUDIT_SINKS names no sink: records stay in the spool.")
        for name in settings.GATEWAY_AUDIT_SINKS:
            try:
                open_sink(name).close()
            except SinkMisconfigured as error:
                raise CommandError(str(error)) from error
        run(_stopped_by_signals())
        recorder.close()

    def _verify(self, options: argparse.Namespace) -> None:
        from auditlog.configuration import verification_keys
        from auditlog.evidence import verify_database, verify_files
        from auditlog.line_files import LinesUnreadable

        summary = Summary()
        keys, progress = verification_keys(), self._progress("verified")
        findings = (
            verify_files(options.file, keys, summary, progress)
            if options.file
            else verify_database(keys, summary, progress)
        )
        try:
            count = self._show_findings(findings)
        except LinesUnreadable as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{summary.records} records in {summary.chains} chains, {summary.checkpoints} checkpoints good, "
            f"{summary.unsigned} records after the last checkpoint of their chain"
        )
        if count:
            raise CommandError(f"{count} findings: the audit log is not what was recorded.")
        self.stdout.write(self.style.SUCCESS("The audit log is whole."))

    def _show_findings(self, findings: Iterable[Finding]) -> int:
        count = 0
        for finding in findings:
            count += 1
            if count <= MOST_FINDINGS:
                place = f"chain {finding.chain} number {finding.sequence} event {finding.event_id or '-'}"
                self.stdout.write(self.style.ERROR(f"{finding.kind}: {place}: {finding.text}"))
        return count

    def _tail(self, options: argparse.Namespace) -> None:
        from auditlog.tail import POLL_SECONDS, SpoolTail, TailFilter

        stop = _stopped_by_signals()
        wanted = TailFilter(options.principal, options.route, options.decision)
        tail = SpoolTail(Path(settings.GATEWAY_AUDIT_SPOOL_DIR), wanted)
        try:
            self._show(tail.before(options.lines), options.json)
            while not stop.wait(POLL_SECONDS):
                batch = tail.poll()
                if batch.skipped:
                    self.stderr.write(f"… {batch.skipped} records not shown")
                self._show(batch.records, options.json)
        except BrokenPipeError:
            # The reader (head, less) has had enough.
            sys.stderr.close()
        finally:
            tail.close()

    def _show(self, records: list[dict[str, Any]], as_json: bool) -> None:
        for record in records:
            self.stdout.write(orjson.dumps(record).decode() if as_json else _line(record))
        self.stdout.flush()

    def _export(self, options: argparse.Namespace) -> None:
        from auditlog.export import ExportImpossible, export, require

        try:
            require(options.format)
            with _output(options.output) as stream, _told(options) as told:
                told["count"] = export(
                    stream, options.format, options.since, options.until, self._progress("exported")
                )
        except BrokenPipeError:
            # The reader (head, less) has had enough.
            sys.stderr.close()
            return
        except (ExportImpossible, OSError) as error:
            raise CommandError(str(error)) from error
        self.stderr.write(f"{told['count']} records exported")

    def _retention(self, options: argparse.Namespace) -> None:
        from auditlog.retention import apply_retention

        days = settings.GATEWAY_AUDIT_RETENTION_DAYS
        if days <= 0:
            self.stdout.write("GATEWAY_AUDIT_RETENTION_DAYS is 0: all records are kept.")
            return
        try:
            removed = apply_retention(stop=_stopped_by_signals(), progress=self._progress("removed"))
        except recorder.AuditUnavailable as error:
            raise CommandError(f"Nothing was removed, as that can't be recorded: {error}.") from error
        self.stdout.write(f"{removed} records older than {days} days removed")

    def _progress(self, verb: str) -> Any:
        """Say how far it is, on a terminal and to people only."""
        if not self.stderr.isatty():
            return lambda count: None
        return lambda count: self.stderr.write(f"\r{count} {verb} …", ending="")


def _stopped_by_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


@contextmanager
def _told(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Record the export, also one that breaks off: what went out until then has gone out."""
    told: dict[str, Any] = {"origin": "command", "format": options.format, "count": None}
    told |= {
        name: value.isoformat() if value else None for name, value in vars(options).items() if name in _PERIOD
    }
    try:
        yield told
    finally:
        recorder.record("audit_exported", told)


def _output(path: Path | None) -> BinaryIO:
    if path is None:
        return sys.stdout.buffer
    return path.open("wb")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines")
    return int(text)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2030-01-31T12:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _line(record: dict[str, Any]) -> str:
    """One record for a person. Its texts are escaped already."""
    words = (
        record["time"][:23].replace("T", " "),
        record["event"],
        record.get("principal") or "-",
        str(record.get("status") or "-"),
        record.get("decision") or "-",
        record.get("method") or "",
        record.get("path") or "",
        record.get("client_ip") or "",
    )
    return "  ".join(word for word in words if word)
