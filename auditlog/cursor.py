"""How far one sink has come in each segment of the spool: a small file, replaced whole."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import orjson


class CursorUnreadable(Exception):
    """The cursor file is damaged; delivering everything anew is safe, losing the place is not silent."""


@dataclass
class Cursor:
    """Offsets by segment name, and the counts that outlive a restart."""

    path: Path
    offsets: dict[str, int] = field(default_factory=dict)
    delivered: int = 0
    undeliverable: int = 0

    @classmethod
    def load(cls, path: Path) -> "Cursor":
        """Raises CursorUnreadable."""
        try:
            raw = orjson.loads(path.read_bytes())
            return cls(path, dict(raw["offsets"]), int(raw["delivered"]), int(raw["undeliverable"]))
        except FileNotFoundError:
            return cls(path)
        except (ValueError, KeyError, TypeError) as error:
            raise CursorUnreadable(str(path)) from error

    def save(self) -> None:
        """Raises OSError. A reader sees the old file or the new one, never a part."""
        temporary = self.path.with_suffix(".tmp")
        body = {
            "offsets": self.offsets,
            "delivered": self.delivered,
            "undeliverable": self.undeliverable,
        }
        temporary.write_bytes(orjson.dumps(body))
        os.replace(temporary, self.path)

    def forget(self, segments: set[str]) -> None:
        """Drop the places in segments that are gone."""
        for name in segments:
            self.offsets.pop(name, None)
