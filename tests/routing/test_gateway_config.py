"""`manage.py gateway_config`, as an administrator meets it."""

import io
import re
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from django.core.management import CommandError, call_command

from accounts.models import Principal
from accounts.revisions import current_revision
from routing.models import Route
from tests.routing.configuration_file.documents import EVERYTHING, minimal

pytestmark = pytest.mark.django_db


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway_config.yaml"
    path.write_text(EVERYTHING)
    return path


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command("gateway_config", *arguments, stdout=output)
    return output.getvalue()


def test_apply_prints_what_it_changed_and_then_no_changes(file: Path) -> None:
    first = run("apply", str(file))
    assert "+ route orders created" in first
    assert '    path: "/api/orders"' in first
    assert "imported-key" not in first
    assert re.search(r"gateway_config\.yaml: \d+ created, 2 updated\n", first)
    assert f"{file}: no changes" in run("apply", str(file))


def test_apply_names_the_fields_of_an_update(file: Path) -> None:
    run("apply", str(file))
    file.write_text(EVERYTHING.replace("priority: 5", "priority: 6"))
    assert "~ route orders updated\n    priority: 5 → 6\n" in run("apply", str(file))


def test_apply_says_what_has_no_effect_yet(file: Path) -> None:
    assert "Note: stored, but without effect in this version: " in run("apply", str(file))
    file.write_text(yaml.safe_dump(minimal()))
    assert "Note" not in run("apply", str(file))


def test_a_dry_run_writes_nothing(file: Path) -> None:
    before = current_revision()
    assert "(nothing written)" in run("apply", "--dry-run", str(file))
    assert not Route.objects.exists()
    assert current_revision() == before


def test_diff_ends_with_1_when_there_are_differences_and_writes_nothing(file: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        run("diff", str(file))
    assert ended.value.code == 1
    assert not Route.objects.exists()
    run("apply", str(file))
    assert "no changes" in run("diff", str(file))


def test_a_broken_file_names_every_mistake_and_ends_with_2(file: Path) -> None:
    file.write_text("version: 1\nroles: [{nam: x}]\nroutes: {}\n")
    with pytest.raises(CommandError) as refused:
        run("apply", str(file))
    assert refused.value.returncode == 2
    assert str(refused.value).splitlines() == [
        f"{file}: 3 problems, nothing was written",
        f"{file}:2: roles[0].nam: unknown key; did you mean name?",
        f"{file}:2: roles[0].name: this key is required",
        f"{file}:3: routes: expected a list, found a mapping",
    ]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"missing\.yaml can't be read: No such file"):
        run("apply", str(tmp_path / "missing.yaml"))


def test_a_dash_reads_standard_input_and_writes_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(EVERYTHING.encode())))
    assert "<stdin>: " in run("apply", "-")
    assert yaml.safe_load(run("export", "-"))["version"] == 1


def test_an_export_to_a_file_is_readable_by_its_owner_only(file: Path, tmp_path: Path) -> None:
    run("apply", str(file))
    exported = tmp_path / "exported.yaml"
    exported.write_text("old")
    run("export", str(exported))
    assert stat.S_IMODE(exported.stat().st_mode) == 0o600
    assert "no changes" in run("diff", str(exported))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exported.yaml", "gateway_config.yaml"]


def test_prune_is_asked_for(file: Path) -> None:
    run("apply", str(file))
    file.write_text(yaml.safe_dump({"version": 1, "routes": []}))
    assert "no changes" in run("apply", str(file))
    assert "- route orders deleted" in run("apply", "--prune", str(file))
    assert not Route.objects.exists()


def test_the_demonstration_applies_twice_without_a_note() -> None:
    output = run("apply", "examples/gateway_config.yaml")
    assert "Note" not in output
    assert Principal.objects.filter(name="demo").exists()
    assert "no changes" in run("apply", "examples/gateway_config.yaml")
