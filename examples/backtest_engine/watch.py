"""The page that starts a backtest and shows it live: one HTML document with everything inside."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse

FOLDER = Path(__file__).parent / "page"


def _inline_page() -> tuple[str, str]:
    """Return the page with its style and script inside, and the policy that allows just those two."""
    style = (FOLDER / "watch.css").read_text(encoding="utf-8")
    script = (FOLDER / "watch.js").read_text(encoding="utf-8")
    page = (FOLDER / "watch.html").read_text(encoding="utf-8")
    page = page.replace("/* watch.css */", style).replace("/* watch.js */", script)
    policy = "; ".join(
        [
            "default-src 'none'",
            f"style-src {_source_hash(style)}",
            f"script-src {_source_hash(script)}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
    return page, policy


def _source_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


PAGE, POLICY = _inline_page()


async def watch_page(request: Request) -> HTMLResponse:
    # no-referrer keeps a ticket in an address from leaving with a link.
    headers = {
        "Content-Security-Policy": POLICY,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(PAGE, headers=headers)
