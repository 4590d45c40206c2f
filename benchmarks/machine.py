"""Describe the machine and the programs of a run, without naming paths, hosts or users."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from contextlib import suppress

import psutil

from benchmarks.servers import ToolMissing, tool

PACKAGES = ("django", "granian", "uvloop", "httptools", "orjson", "redis", "channels")
PROGRAMS = {"nginx": "-v", "wrk": "-v", "redis-server": "--version"}


def describe() -> dict[str, str]:
    total_bytes = psutil.virtual_memory().total
    return {
        "CPU": _cpu_model(),
        "Cores": str(os.cpu_count()),
        "Memory": f"{total_bytes / 1024**3:.0f} GB",
        "Kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        **{package: importlib.metadata.version(package) for package in PACKAGES},
        **{program: _program_version(program, flag) for program, flag in PROGRAMS.items()},
    }


def _cpu_model() -> str:
    with suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _program_version(program: str, flag: str) -> str:
    try:
        answer = subprocess.run([tool(program), flag], capture_output=True, text=True)
    except ToolMissing:
        return "not installed"
    first = (answer.stdout + answer.stderr).strip().partition("\n")[0]
    words = first.replace("/", " ").replace("=", " ").split()
    return next((word for word in words if any(letter.isdigit() for letter in word)), first)
