"""The shapes a value may have, and what to say when it has another. Knows no section by name."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from routing.configuration_file.problems import Problem
from routing.configuration_file.yaml_values import Value

REQUIRED: Any = object()
# Stands for a value that was reported as wrong, so that the rest can still be checked.
INVALID: Any = object()


class Entry(dict[str, Any]):
    """A mapping from the file, defaults filled in, that knows where each key stands."""

    def __init__(self, path: str, line: int) -> None:
        super().__init__()
        self.path = path
        self.line = line
        self.lines: dict[str, int] = {}
        self.broken = False

    def gave(self, key: str) -> bool:
        return key in self.lines

    def problem(self, key_path: str, message: str) -> Problem:
        """A Problem at `key_path` (such as timeouts.connect), or at the nearest key that is there."""
        entry, line = self, self.line
        for key in key_path.split("."):
            if not isinstance(entry, Entry) or key not in entry.lines:
                break
            line = entry.lines[key]
            entry = entry.get(key)
        path = f"{self.path}.{key_path}" if self.path and key_path else self.path or key_path
        return Problem(line, path, message)


@dataclass
class Reading:
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, line: int, path: str, message: str) -> Any:
        self.problems.append(Problem(line, path, message))
        return INVALID

    def unexpected(self, value: Value, path: str, wanted: str) -> Any:
        hint = "; put it in quotes" if wanted == "text" and _is_plain(value) else ""
        return self.refuse(value.line, path, f"expected {wanted}, found {value.kind}{hint}")


def _is_plain(value: Value) -> bool:
    return value.kind in ("integer", "number", "true or false", "a time")


class Shape(Protocol):
    def read(self, value: Value, path: str, reading: Reading) -> Any:
        """Return the plain value, or INVALID after reporting why not."""


@dataclass(frozen=True)
class Scalar:
    """One of the kinds of YAML scalar; with `nothing`, null and what it stands for."""

    wanted: str
    kinds: tuple[str, ...]
    null: Any = REQUIRED

    def read(self, value: Value, path: str, reading: Reading) -> Any:
        if value.kind == "nothing" and self.null is not REQUIRED:
            return self.null
        if value.kind not in self.kinds:
            return reading.unexpected(value, path, self.wanted)
        return value.content


def text(null: Any = REQUIRED) -> Scalar:
    return Scalar("text", ("text",), null)


def integer(null: Any = REQUIRED) -> Scalar:
    return Scalar("integer", ("integer",), null)


def number(null: Any = REQUIRED) -> Scalar:
    return Scalar("number", ("number", "integer"), null)


def flag() -> Scalar:
    return Scalar("true or false", ("true or false",))


def moment() -> Scalar:
    return Scalar("a time such as 2027-01-01T00:00:00Z", ("a time",), None)


@dataclass(frozen=True)
class Json:
    """A mapping of anything that JSON can hold."""

    def read(self, value: Value, path: str, reading: Reading) -> Any:
        if value.kind != "a mapping":
            return reading.unexpected(value, path, "a mapping")
        return self._convert(value, path, reading)

    def _convert(self, value: Value, path: str, reading: Reading) -> Any:
        if value.kind == "a time":
            return reading.unexpected(value, path, "text")
        if value.kind == "a list":
            return [self._convert(item, f"{path}[{n}]", reading) for n, item in enumerate(value.content)]
        if value.kind == "a mapping":
            return {
                key: self._convert(held, f"{path}.{key}", reading) for key, (_, held) in value.content.items()
            }
        return value.content


@dataclass(frozen=True)
class ListOf:
    """A list; `unique` names the keys that together tell its entries apart."""

    shape: Shape
    unique: tuple[str, ...] = ()
    called: str = "entry"

    def read(self, value: Value, path: str, reading: Reading) -> Any:
        if value.kind != "a list":
            return reading.unexpected(value, path, "a list")
        items = [self.shape.read(item, f"{path}[{n}]", reading) for n, item in enumerate(value.content)]
        usable = [item for item in items if item is not INVALID]
        if self.unique:
            self._refuse_repeated(usable, reading)
        return usable

    def _refuse_repeated(self, entries: list[Entry], reading: Reading) -> None:
        first: dict[tuple[Any, ...], Entry] = {}
        for entry in entries:
            identity = tuple(entry.get(key) for key in self.unique)
            if None in identity:
                continue
            if (earlier := first.setdefault(identity, entry)) is not entry:
                words = ", ".join(str(part) for part in identity if part != "")
                reading.problems.append(
                    entry.problem(
                        self.unique[0],
                        f"the {self.called} {words} stands in line {earlier.line} already",
                    )
                )


@dataclass(frozen=True)
class Texts:
    """A list of distinct texts; `ordered` false when the order means nothing."""

    ordered: bool = True

    def read(self, value: Value, path: str, reading: Reading) -> Any:
        if value.kind != "a list":
            return reading.unexpected(value, path, "a list")
        texts = [text().read(item, f"{path}[{n}]", reading) for n, item in enumerate(value.content)]
        if any(item is INVALID for item in texts):
            return INVALID
        for n, item in enumerate(texts):
            if item in texts[:n]:
                return reading.refuse(value.content[n].line, f"{path}[{n}]", f"{item!r} is listed twice")
        return texts if self.ordered else sorted(texts)


@dataclass(frozen=True)
class HeaderValues:
    """Header names and what to set them to. Names that differ in case only are the same header."""

    def read(self, value: Value, path: str, reading: Reading) -> Any:
        if value.kind != "a mapping":
            return reading.unexpected(value, path, "a mapping")
        entry = Entry(path, value.line)
        for name, (line, held) in value.content.items():
            entry.lines[name] = line
            entry[name] = text().read(held, f"{path}.{name}", reading)
        return INVALID if INVALID in entry.values() else entry


@dataclass(frozen=True)
class Key:
    shape: Shape
    default: Any = REQUIRED

    def default_value(self) -> Any:
        return self.default() if callable(self.default) else self.default


@dataclass(frozen=True)
class Keyed:
    """A mapping with known keys. An unknown key is an error; a missing one has its default."""

    keys: Mapping[str, Key]
    null: Any = REQUIRED
    # Called with each finished entry for a rule that spans several of its keys.
    rule: Callable[[Entry], tuple[str, str] | None] | None = None

    def read(self, value: Value, path: str, reading: Reading) -> Any:
        if value.kind == "nothing" and self.null is not REQUIRED:
            return self.null
        if value.kind != "a mapping":
            return reading.unexpected(value, path, "a mapping")
        entry = Entry(path, value.line)
        self._refuse_unknown(value, path, reading)
        for name, key in self.keys.items():
            self._read_key(entry, name, key, value, reading)
        if self.rule is not None and not entry.broken and (wrong := self.rule(entry)):
            reading.problems.append(entry.problem(*wrong))
            entry.broken = True
        return entry

    def _read_key(self, entry: Entry, name: str, key: Key, value: Value, reading: Reading) -> None:
        given = value.content.get(name)
        path = f"{entry.path}.{name}" if entry.path else name
        if given is None:
            if key.default is REQUIRED:
                reading.refuse(entry.line, path, "this key is required")
                entry.broken = True
                entry[name] = None
            else:
                entry[name] = key.default_value()
            return
        entry.lines[name], held = given
        count = len(reading.problems)
        result = key.shape.read(held, path, reading)
        if len(reading.problems) > count:
            entry.broken = True
        if result is INVALID:
            result = None if key.default is REQUIRED else key.default_value()
        entry[name] = result

    def _refuse_unknown(self, value: Value, path: str, reading: Reading) -> None:
        for name, (line, _) in value.content.items():
            if name in self.keys:
                continue
            near = difflib.get_close_matches(name, self.keys, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(self.keys)}"
            reading.refuse(line, f"{path}.{name}" if path else name, f"unknown key{hint}")
