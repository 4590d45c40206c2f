"""The format's documentation is a file that applies."""

import re
from pathlib import Path

import pytest
import yaml

from routing.configuration_file.applying import apply_file
from routing.configuration_file.version_1 import (
    API_KEY,
    GRANT,
    LEFT_ALONE,
    PRINCIPAL,
    ROLE,
    ROUTE,
    SERVICE,
    TARGET,
)

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "configuration-file.md"


@pytest.fixture
def example() -> str:
    return re.search(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[1]


@pytest.mark.django_db
def test_the_example_applies(example: str) -> None:
    assert apply_file(example.encode()).changes


def test_the_example_has_every_key_but_those_of_an_export(example: str) -> None:
    document = yaml.safe_load(example)
    keys = {"roles": ROLE, "principals": PRINCIPAL, "grants": GRANT, "services": SERVICE, "routes": ROUTE}
    for section, known in keys.items():
        assert set(document[section][0]) == set(known), section
    assert set(document["services"][0]["targets"][0]) == set(TARGET)
    of_an_export = {"digest", "public_id", "revoked_at"}
    assert set(document["principals"][0]["api_keys"][0]) == set(API_KEY) - of_an_export


def test_every_key_that_is_left_alone_is_in_the_table() -> None:
    table = DOCUMENT.read_text().split("left alone when not given |")[1].split("\n\n")[0]
    for keys in LEFT_ALONE.values():
        for key in keys:
            assert f"`{key}`" in table
