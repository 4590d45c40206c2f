"""Run the Autobahn test suite against its own echo server, directly and through the gateway, and compare.

    python -m tests.end_to_end.autobahn_run [--wstest PATH] [--cases 1.*,2.*] [--keep DIRECTORY]

A program and no test: the suite runs on Python 2.7 alone, which the project doesn't install. It ends with 1
when a verdict differs that EXPLAINED doesn't name, or when no case was run. Lives on free ports of its own.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.end_to_end.configuration import configuration, route, service
from tests.end_to_end.gateway_process import GatewayProcess
from tests.services.deadline import wait_until
from tests.services.ports import free_port

CASES = "1.*,2.*,3.*,4.*,5.*,6.*,7.*,9.*,10.*,12.*,13.*"
SECONDS = 1800
OPTIONS = {"max_message_bytes": 16_777_216, "ping_interval": 0}
# Either verdict of these passes: OK and NON-STRICT differ in what came before the violation was noticed.
ACCEPTED = {"OK", "NON-STRICT"}
# Sent octet by octet: directly, too, about every second run finds the one and every second the other.
_RACE = "the echo of the message before the violation comes in time, or it doesn't"
_WHOLE_FRAMES = "the relay looks at the text of whole frames, not at each byte of one that is still coming"
EXPLAINED = {
    "3.4": _RACE,
    "4.1.5": _RACE,
    "4.2.5": _RACE,
    "6.4.3": _WHOLE_FRAMES,
    "6.4.4": _WHOLE_FRAMES,
}

Verdict = tuple[str, str]  # of the case, and of how the connection was closed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--wstest", default=shutil.which("wstest"), help="the suite's program")
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--keep", type=Path, help="where the suite's reports are left")
    arguments = parser.parse_args()
    if arguments.wstest is None:
        parser.error("wstest is not on the PATH; docs/websockets.md says how to get it")
    with tempfile.TemporaryDirectory() as name:
        reports = (arguments.keep or Path(name, "reports")).resolve()
        reports.mkdir(parents=True, exist_ok=True)
        index = run(arguments.wstest, arguments.cases.split(","), Path(name), reports)
    return compare(index)


def run(wstest: str, cases: list[str], directory: Path, reports: Path) -> dict[str, Any]:
    """The suite's index: for each of the two ways, case by case, what it found."""
    port = free_port()
    echo = subprocess.Popen(
        [wstest, "-m", "echoserver", "-w", f"ws://127.0.0.1:{port}", "-u", "0"], stdout=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: _listens(port), "the suite's echo server listens", 20)
        gateway = GatewayProcess(
            directory / "gateway",
            configuration(
                [service("echo", f"http://127.0.0.1:{port}")],
                [route("echo", "/echo", "echo", websocket=True, websocket_options=OPTIONS)],
            ),
        )
        try:
            servers = {"direct": f"ws://127.0.0.1:{port}", "relayed": f"ws://127.0.0.1:{gateway.port}/echo"}
            return fuzz(wstest, servers, cases, reports)
        finally:
            gateway.stop()
    finally:
        echo.kill()
        echo.wait()


def fuzz(wstest: str, servers: dict[str, str], cases: list[str], reports: Path) -> dict[str, Any]:
    specification = reports / "specification.json"
    specification.write_text(
        json.dumps(
            {
                "outdir": str(reports),
                "servers": [{"agent": agent, "url": url} for agent, url in servers.items()],
                "cases": cases,
                "exclude-cases": [],
                "exclude-agent-cases": {},
            }
        )
    )
    with (reports / "wstest.log").open("wb") as log:
        subprocess.run(
            [wstest, "-m", "fuzzingclient", "-s", str(specification)],
            stdout=log,
            stderr=log,
            timeout=SECONDS,
            check=True,
        )
    index: dict[str, Any] = json.loads((reports / "index.json").read_text())
    return index


def compare(index: dict[str, Any]) -> int:
    """Print what is equal and what is not; the exit code."""
    direct, relayed = index.get("direct", {}), index.get("relayed", {})
    equal: Counter[str] = Counter()
    different: Counter[str] = Counter()
    unexplained = 0
    for case in sorted({*direct, *relayed}, key=lambda name: [int(part) for part in name.split(".")]):
        first, second = verdict(direct.get(case, {})), verdict(relayed.get(case, {}))
        section = case.split(".")[0]
        if first == second:
            equal[section] += 1
            continue
        different[section] += 1
        cause = explanation(case, first, second)
        unexplained += cause is None
        print(f"{case}: directly {'/'.join(first)}, relayed {'/'.join(second)}: {cause or 'UNEXPLAINED'}")
    for section in sorted({*equal, *different}, key=int):
        print(f"section {section}: {equal[section]} equal, {different[section]} different")
    print(f"{equal.total()} equal, {different.total()} different, {unexplained} of them unexplained")
    return 1 if unexplained or not equal else 0


def verdict(found: dict[str, Any]) -> Verdict:
    return found.get("behavior", "MISSING"), found.get("behaviorClose", "MISSING")


def explanation(case: str, first: Verdict, second: Verdict) -> str | None:
    """Why they differ; None where nothing is known that may make them do so."""
    if first[1] == second[1] and {first[0], second[0]} <= ACCEPTED:
        return EXPLAINED.get(case)
    return None


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    sys.exit(main())
