"""What is wrong with a configuration file, and where: one Problem per mistake, all of them at once."""

from collections.abc import Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """`line` counts from 1; `path` is the key's way from the top, such as routes[3].service."""

    line: int
    path: str
    message: str

    def located(self, file_name: str) -> str:
        where = f"{file_name}:{self.line}: "
        return f"{where}{self.path}: {self.message}" if self.path else where + self.message


class InvalidConfiguration(ValueError):
    """The file can't be applied. Holds every problem that was found, in the file's order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems)
        super().__init__(f"{len(self.problems)} problem(s)")
