"""What `make run` prints once the gateway answers."""

from gateway_site.demo.first_run import PRINCIPAL, Credentials

_ADMIN_UNCHANGED = "unchanged since the first run; a new one: .venv/bin/python manage.py create_admin --reset"
_KEY_UNCHANGED = (
    f"unchanged since the first run; another one: .venv/bin/python manage.py create_key {PRINCIPAL} NAME"
)
_NEW_BACKTEST = """'{"symbol": "ACME", "fast": 10, "slow": 30}'"""


def render_banner(url: str, credentials: Credentials) -> str:
    """The admin's address, the credentials made in this run, and three requests to try."""
    key = f'-H "X-API-Key: {credentials.api_key or "YOUR-KEY"}"'
    lines = [
        f"Gatehouse is ready on {url}",
        "",
        f"  Admin     {url}/admin/",
        f"  User      {credentials.administrator}",
        f"  Password  {credentials.password or _ADMIN_UNCHANGED}",
        f"  API key   {credentials.api_key or _KEY_UNCHANGED}",
        "",
        "Three requests to try:",
        f"  curl {key} -d {_NEW_BACKTEST} {url}/backtests",
        f"  curl {key} {url}/backtests",
        f"  curl -i {url}/orders",
        "",
        "The last one has no key and is refused. Ctrl-C stops everything.",
    ]
    return "\n".join(["", *lines, ""])
