"""`manage.py gateway_config apply|export|diff FILE`: the declarative configuration file."""

import os
import sys
import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from routing.configuration_file.applying import apply_file, plan_file
from routing.configuration_file.exporting import export_file
from routing.configuration_file.problems import InvalidConfiguration
from routing.configuration_file.rendering import render_changes, summarize
from routing.configuration_file.section import Plan
from routing.configuration_file.unenforced import unenforced_in
from routing.configuration_file.yaml_values import MAXIMUM_BYTES

DESCRIPTION = """\
apply   make the gateway what FILE says, in one transaction; a second time changes nothing
diff    print what apply would do; exit code 1 when there are differences
export  write the whole configuration to FILE

Objects that FILE doesn't name stay as they are, unless --prune is given: then they are deleted from
every section that FILE has (accounts that may sign in to the admin are always kept).
Exit code 2: FILE is invalid. Every mistake is named with its line and key, and nothing is written.
"""


class Command(BaseCommand):
    help = "Apply, compare or export the declarative configuration file."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = DESCRIPTION
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["apply", "export", "diff"])
        parser.add_argument("file", metavar="FILE", help="a YAML file; - for standard input or output")
        parser.add_argument("--prune", action="store_true", help="delete objects that FILE doesn't name")
        parser.add_argument("--dry-run", action="store_true", help="apply: print, but write nothing")

    def handle(self, *args: Any, action: str, file: str, **options: Any) -> None:
        if action == "export":
            write_file(file, export_file(), self.stdout)
            return
        data, name = read_file(file)
        writes = action == "apply" and not options["dry_run"]
        try:
            if writes:
                plan = apply_file(data, options["prune"], reason=f"gateway_config apply {name}"[:100])
            else:
                plan = plan_file(data, options["prune"])
        except InvalidConfiguration as error:
            raise CommandError(_all_problems(error, name), returncode=2) from None
        self._report(plan, name, writes)
        if action == "diff" and plan.changes:
            sys.exit(1)

    def _report(self, plan: Plan, name: str, written: bool) -> None:
        coloured = Console(file=self.stdout).color_system is not None
        lines = list(render_changes(plan, coloured))
        would = "" if written or not plan.changes else " (nothing written)"
        lines.append(f"{name}: {summarize(plan)}{would}")
        unenforced = list(unenforced_in(plan.document))
        if unenforced and (written or plan.changes):
            lines.append(f"Note: stored, but without effect in this version: {'; '.join(unenforced)}.")
        self.stdout.write("\n".join(lines))


def _all_problems(error: InvalidConfiguration, name: str) -> str:
    count = len(error.problems)
    lines = [problem.located(name) for problem in error.problems]
    return "\n".join([f"{name}: {count} problem{'s' * (count > 1)}, nothing was written", *lines])


def read_file(file: str) -> tuple[bytes, str]:
    """Return what is in the file and what to call it. Raises CommandError."""
    try:
        if file == "-":
            return sys.stdin.buffer.read(MAXIMUM_BYTES + 1), "<stdin>"
        with Path(file).open("rb") as stream:
            return stream.read(MAXIMUM_BYTES + 1), file
    except OSError as error:
        raise CommandError(f"{file} can't be read: {error.strerror}", returncode=2) from error


def write_file(file: str, text: str, stdout: Any) -> None:
    """Write all of the text or leave the file as it was; readable by the owner only, for its digests."""
    if file == "-":
        stdout.write(text, ending="")
        return
    path = Path(file)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent or Path(), prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(temporary, path)
    except OSError as error:
        raise CommandError(f"{file} can't be written: {error.strerror}") from error
    stdout.write(f"{file}: written")
