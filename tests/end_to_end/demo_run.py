"""One `make run` on free ports, with a data directory of its own; what it prints, and what it leaves."""

import os
import re
import signal
import subprocess
from pathlib import Path

from tests.end_to_end.control import PROJECT_DIR
from tests.end_to_end.gateway_process import clean_environment
from tests.services.deadline import wait_until
from tests.services.ports import free_port
from tests.services.process_table import Process, live_processes

SERVICE_OPTIONS = {
    9001: "--backtest-engine-port",
    9002: "--orders-port",
    9003: "--products-port",
    9004: "--users-port",
}


class DemoRun:
    """Starts at construction; `output` grows while it runs."""

    def __init__(self, directory: Path, ports: dict[int, int], bind_port: int, run_number: int = 1) -> None:
        configuration = directory / "gateway_config.yaml"
        example = (PROJECT_DIR / "examples" / "gateway_config.yaml").read_text()
        configuration.write_text(re.sub(r":(900\d)\b", lambda found: f":{ports[int(found[1])]}", example))
        options = " ".join(f"{SERVICE_OPTIONS[port]} {ports[port]}" for port in SERVICE_OPTIONS)
        demo = f"--bind 127.0.0.1:{bind_port} --configuration {configuration}"
        demo += f" --services '-m examples {options}'"
        environment = clean_environment(directory / "data")
        # make hands its own flags down to a make that it runs: this one is nobody's child.
        for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "GATEWAY_ENV"):
            environment.pop(name, None)
        self.url = f"http://127.0.0.1:{bind_port}"
        self.log_path = directory / f"run-{run_number}.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                ["make", "--no-print-directory", "run", f"DEMO={demo}"],
                cwd=PROJECT_DIR,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, (
                f"make run ended with {self.process.returncode}:\n{self.output}"
            )
            return "Ctrl-C stops everything" in self.output

        wait_until(ready, "make run prints its banner", timeout_seconds=90)

    def field(self, name: str) -> str:
        """What stands behind `name` in the banner."""
        found = re.search(rf"^  {name} +(.+)$", self.output, re.MULTILINE)
        assert found is not None, self.output
        return found.group(1).strip()

    def curl_lines(self) -> list[str]:
        return re.findall(r"^  (curl .+)$", self.output, re.MULTILINE)

    def processes(self) -> list[Process]:
        """All processes of this run that still live."""
        return [process for process in live_processes() if process.session == self.process.pid]

    def stop(self, number: signal.Signals, whole_group: bool) -> int:
        """End it as a terminal (Ctrl-C: the whole group) or a supervisor (make alone) does."""
        if whole_group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        return self.process.wait(60)

    def kill(self) -> None:
        if self.process.poll() is None or self.processes():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


def free_service_ports() -> dict[int, int]:
    return {port: free_port() for port in SERVICE_OPTIONS}
