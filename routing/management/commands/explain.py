"""`manage.py explain`: print each step of the decision about a request, and why it ended as it did."""

import asyncio
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from routing.explanation import Explanation, UnknownSubject, explain, load_world, now_seconds, scope_of

_MARKS = {"pass": "[green]✓[/]", "allow": "[bold green]✓[/]", "skip": "[dim]·[/]", "refuse": "[bold red]✗[/]"}


class Command(BaseCommand):
    help = (
        "Explain what the gateway would decide about METHOD URL, step by step. "
        "Exit code 0: it would be allowed; 1: refused; 2: the question itself is wrong."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("method", help="GET, POST, …")
        parser.add_argument("url", help="a path such as /orders/7?state=open, or a whole URL")
        parser.add_argument("--as", dest="principal", metavar="NAME", help="the principal that asks")
        parser.add_argument(
            "--key", metavar="PUBLIC_ID", help="the API key it asks with (its scopes and networks count)"
        )
        parser.add_argument(
            "--from", dest="client_ip", default="127.0.0.1", metavar="IP", help="the client's address"
        )
        parser.add_argument(
            "--header",
            action="append",
            default=[],
            metavar="'NAME: VALUE'",
            help="a request header (repeatable)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            world, secret = load_world(options["principal"], options["key"])
        except UnknownSubject as unknown:
            raise CommandError(f"{unknown}.", returncode=2) from unknown
        scope = scope_of(
            options["method"], options["url"], options["client_ip"], _headers(options["header"]), secret
        )
        explanation = asyncio.run(explain(world, scope, now_seconds()))
        _print(Console(file=self.stdout, soft_wrap=True), explanation, options)
        if not explanation.allowed:
            sys.exit(1)


def _headers(texts: list[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise CommandError(f"--header {text!r} is not NAME: VALUE", returncode=2)
        pairs.append((name.strip(), value.strip()))
    return pairs


def _print(console: Console, explanation: Explanation, options: dict[str, Any]) -> None:
    who = options["principal"] or (f"key {options['key']}" if options["key"] else "nobody")
    console.print(f"[bold]{escape(options['method'])} {escape(options['url'])}[/] as [bold]{escape(who)}[/]")
    table = Table.grid(padding=(0, 2))
    for step, outcome, text in explanation.steps:
        table.add_row("", _MARKS.get(outcome, outcome), step, escape(text))
    console.print(table)
    refusal = explanation.refusal
    if refusal is None:
        console.print(f"[bold green]ALLOWED[/] by {escape(explanation.exchange.rule)}")
        return
    console.print(f"[bold red]REFUSED[/] {refusal.status} {refusal.code}: {escape(refusal.message)}")
    if refusal.reason:
        console.print(f"  because: {escape(refusal.reason)}")
    for sentence in explanation.advice:
        console.print(f"  → {escape(sentence)}")
