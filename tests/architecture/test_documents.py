"""What README, docs and .env.example say exists, exists; what exists is in them."""

import re
from pathlib import Path

import pytest
from django.core.management import get_commands

from tests.architecture.sources import GATEWAY_PACKAGES, modules, text, tracked_files

DOCUMENTS = [
    path
    for path in tracked_files()
    if path.suffix == ".md" and (path.parent in (Path(), Path("docs")) or path.is_relative_to("docs"))
]
VARIABLE = re.compile(r"\bGATEWAY_[A-Z0-9_]*[A-Z0-9]\b")
READ_BY_SETTINGS = re.compile(r"""env\.\w+\(\s*"(GATEWAY_[A-Z0-9_]+)\"""")
KEY_VARIABLES = {"GATEWAY_SECRET_KEY", "GATEWAY_API_KEY_PEPPER", "GATEWAY_ENCRYPTION_KEY"}


def settings_variables() -> set[str]:
    """Every variable that the settings read from the environment."""
    return set(READ_BY_SETTINGS.findall(text(Path("gateway_site/settings.py")))) | KEY_VARIABLES


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", text(Path("Makefile")), re.MULTILINE))


def test_env_example_lists_exactly_the_variables_that_the_settings_read() -> None:
    listed = set(re.findall(r"^#? ?(GATEWAY_[A-Z0-9_]+)=", text(Path(".env.example")), re.MULTILINE))
    # The name of the file can't stand in the file.
    assert listed == settings_variables() - {"GATEWAY_ENV_FILE"}


def test_documents_have_every_variable_in_a_table() -> None:
    rows = [line for path in DOCUMENTS for line in text(path).splitlines() if line.startswith("|")]
    in_tables = {name for row in rows for name in VARIABLE.findall(row)}
    assert settings_variables() - in_tables == set()


def test_documents_name_only_variables_that_exist() -> None:
    known = settings_variables()
    unknown = {str(path): sorted(set(VARIABLE.findall(text(path))) - known) for path in DOCUMENTS}
    assert {path: names for path, names in unknown.items() if names} == {}


def test_code_reads_no_variable_past_the_settings() -> None:
    direct = re.compile(r"""environ(?:\.get\(|\[)\s*"(GATEWAY_[A-Z_]+)"(?!\] =)""")
    found = {str(path): direct.findall(text(path)) for path in modules(*GATEWAY_PACKAGES)}
    assert {path: names for path, names in found.items() if names} == {}


def test_documents_name_only_make_targets_that_exist() -> None:
    targets = make_targets()
    named = {(str(path), name) for path in DOCUMENTS for name in re.findall(r"`make ([a-z]+)", text(path))}
    named |= {
        (str(path), name)
        for path in DOCUMENTS
        for name in re.findall(r"^\s*(?:\$ )?make ([a-z]+)", text(path), re.MULTILINE)
    }
    assert {entry for entry in named if entry[1] not in targets} == set()


def test_documents_name_only_commands_that_exist() -> None:
    commands = get_commands()
    named = {
        (str(path), name) for path in DOCUMENTS for name in re.findall(r"manage\.py ([a-z_]+)", text(path))
    }
    assert {entry for entry in named if entry[1] not in commands} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text(document))
    assert [link for link in links if not (Path(document).parent / link).exists()] == []


def test_make_help_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", text(Path("Makefile")), re.MULTILINE)
    assert phony is not None
    explained = set(re.findall(r"^([a-z]+):.*## ", text(Path("Makefile")), re.MULTILINE))
    assert set(phony.group(1).split()) == explained
