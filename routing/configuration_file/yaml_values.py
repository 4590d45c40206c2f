"""Read YAML into plain values that remember their line. Knows no key of the configuration.

Driven by parser events, not by PyYAML's composer: the C composer recurses and crashes the process
on deep nesting, and it expands aliases without a bound.
"""

import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any

import yaml

from routing.configuration_file.problems import InvalidConfiguration, Problem

MAXIMUM_BYTES = 64 * 1024 * 1024
MAXIMUM_DEPTH = 32
# Counted after aliases are expanded, so that a few lines of anchors can't grow into gigabytes.
MAXIMUM_VALUES = 5_000_000

_KINDS = {
    "str": "text",
    "int": "integer",
    "float": "number",
    "bool": "true or false",
    "null": "nothing",
    "timestamp": "a time",
}
_CONSTRUCTORS = yaml.SafeLoader.yaml_constructors
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Value:
    """A YAML value: `kind` is in the words of an error message, `size` counts the values within."""

    kind: str
    line: int
    content: Any
    size: int = 1
    complete: bool = True


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    value: Value
    pending_key: Value | None = None
    keys: dict[str, int] = field(default_factory=dict)


def read_yaml(data: bytes) -> Value:
    """Return the one document in `data`. Raises InvalidConfiguration."""
    if len(data) > MAXIMUM_BYTES:
        raise _refused(1, f"the file has {len(data)} bytes; at most {MAXIMUM_BYTES} are read")
    try:
        # Decoded here: a BOM-less UTF-16 guess by the parser would make nonsense of line numbers.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(data.count(b"\n", 0, error.start) + 1, "the file is not UTF-8") from error
    try:
        # A parser that yields events and plain scalars only; no object is ever constructed from a tag.
        return _Document(_Loader(text)).read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _refused(mark.line + 1 if mark else 1, error.problem or "not YAML") from error
    except yaml.reader.ReaderError as error:
        raise _refused(text.count("\n", 0, error.position) + 1, f"not YAML: {error.reason}") from error


def _refused(line: int, message: str, path: str = "") -> InvalidConfiguration:
    return InvalidConfiguration([Problem(line, path, message)])


class _Document:
    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.anchors: dict[str, Value] = {}
        self.open: list[_Open] = []
        self.root: Value | None = None
        self.documents = 0
        self.problems: list[Problem] = []

    def read(self) -> Value:
        while (event := self.loader.get_event()) is not None:
            self._take(event)
            if isinstance(event, yaml.StreamEndEvent):
                break
        if self.problems:
            raise InvalidConfiguration(self.problems)
        if self.root is None:
            raise _refused(1, "the file is empty")
        return self.root

    def _take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        match event:
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    raise _refused(line, "one document per file: a second one begins here")
            case yaml.AliasEvent():
                self._place(self._aliased(event.anchor, line))
            case yaml.ScalarEvent():
                self._place(self._remember(event, self._scalar(event, line)))
            case yaml.SequenceStartEvent():
                self._begin(event, Value("a list", line, [], complete=False))
            case yaml.MappingStartEvent():
                self._begin(event, Value("a mapping", line, {}, complete=False))
            case yaml.CollectionEndEvent():
                self._end()

    def _remember(self, event: Any, value: Value) -> Value:
        if event.anchor:
            self.anchors[event.anchor] = value
        return value

    def _aliased(self, anchor: str, line: int) -> Value:
        value = self.anchors.get(anchor)
        if value is None:
            raise _refused(line, f"no anchor &{anchor} stands before this alias")
        if not value.complete:
            raise _refused(line, f"*{anchor} stands within the value that it names")
        return Value(value.kind, line, value.content, value.size)

    def _scalar(self, event: Any, line: int) -> Value:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self.loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        kind = _KINDS.get(tag.removeprefix("tag:yaml.org,2002:"))
        if event.value == "<<" and tag.endswith(":merge"):
            raise _refused(line, "merge keys (<<) are not part of this format")
        if kind is None:
            raise _refused(line, f"the tag {tag} is not part of this format")
        node = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
        try:
            return Value(kind, line, _finished(_CONSTRUCTORS[tag](self.loader, node)))
        except (ValueError, KeyError, OverflowError):
            raise _refused(line, f"{event.value[:60]!r} can't be read as {kind}") from None

    def _begin(self, event: Any, value: Value) -> None:
        if event.tag and event.tag not in ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map", "!"):
            raise _refused(value.line, f"the tag {event.tag} is not part of this format")
        if len(self.open) >= MAXIMUM_DEPTH:
            raise _refused(value.line, f"nested deeper than {MAXIMUM_DEPTH} levels")
        self._remember(event, value)
        self.open.append(_Open(value))

    def _end(self) -> None:
        ended = self.open.pop().value
        ended.complete = True
        self._place(ended)

    def _place(self, value: Value) -> None:
        if not self.open:
            self.root = value
            return
        holder = self.open[-1]
        holder.value.size += value.size
        if holder.value.size > MAXIMUM_VALUES:
            raise _refused(value.line, f"more than {MAXIMUM_VALUES} values, aliases expanded")
        if isinstance(holder.value.content, list):
            holder.value.content.append(value)
        elif holder.pending_key is None:
            holder.pending_key = value
        else:
            self._place_key(holder, holder.pending_key, value)
            holder.pending_key = None

    def _place_key(self, holder: _Open, key: Value, value: Value) -> None:
        if key.kind != "text":
            self.problems.append(Problem(key.line, "", f"a key must be text; this one is {key.kind}"))
        elif key.content in holder.keys:
            first = holder.keys[key.content]
            self.problems.append(Problem(key.line, key.content, f"this key stands in line {first} already"))
        else:
            holder.keys[key.content] = key.line
            # The key's line, not the value's: that is where a reader looks for it.
            holder.value.content[key.content] = (key.line, value)


def _finished(content: Any) -> Any:
    if isinstance(content, datetime):
        return content.replace(tzinfo=UTC) if content.tzinfo is None else content.astimezone(UTC)
    if isinstance(content, date):
        return datetime.combine(content, time(), UTC)
    if isinstance(content, float) and not math.isfinite(content):
        raise ValueError
    if isinstance(content, str):
        content.encode()
        if any(character < " " and character not in "\t\n" for character in content):
            raise ValueError
    return content
