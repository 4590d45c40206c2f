"""A module has one idea, a telling name, and says at its top what it owns."""

import ast

import pytest

from tests.architecture.sources import modules, parsed, text, tracked_files

BANNED_WORDS = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"}
MOST_LINES = 400


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [str(path) for path in modules() if BANNED_WORDS & set(path.stem.split("_"))] == []


def test_no_module_is_longer_than_400_lines() -> None:
    long = {str(path): text(path).count("\n") for path in modules() if text(path).count("\n") > MOST_LINES}
    assert long == {}


def test_every_module_with_code_opens_by_saying_what_it_owns() -> None:
    silent = [str(path) for path in modules() if parsed(path).body and not ast.get_docstring(parsed(path))]
    assert silent == []


@pytest.mark.parametrize("mark", ["TODO", "FIXME", "XXX", "HACK", "NotImplementedError"])
def test_nothing_is_left_for_later(mark: str) -> None:
    own = "tests/architecture/test_modules.py"
    files = [path for path in modules() if str(path) != own]
    assert [str(path) for path in files if mark in text(path)] == []


@pytest.mark.parametrize("place", ["/root/", "/home/", "/Users/", "/work/"])
def test_no_tracked_file_names_a_place_on_somebodys_machine(place: str) -> None:
    own = "tests/architecture/test_modules.py"
    found = []
    for path in tracked_files():
        if str(path) != own and path.suffix not in (".png", ".ico", ".woff2", ".gz"):
            content = text(path)
            found += [str(path)] if f'"{place}' in content or f" {place}" in content else []
    assert found == []
