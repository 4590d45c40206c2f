"""Imports point one way, and the decision core stays pure."""

from pathlib import Path

import pytest

from tests.architecture.sources import GATEWAY_PACKAGES, imports_of, modules

# What each package may not import. gateway_site puts the packages together, so it may import them all.
FORBIDDEN = {
    "accounts": ("routing", "auditlog", "gateway_site"),
    "auditlog": ("routing", "accounts", "gateway_site"),
    "routing": ("gateway_site",),
    "examples": (*GATEWAY_PACKAGES, "benchmarks"),
}
FRAMEWORKS = ("django", "rest_framework", "channels", "httpx", "redis", "celery", "granian", "httptools")


@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_imports_nothing_above_or_beside_it(package: str) -> None:
    wrong = {
        str(path): sorted(found)
        for path in modules(package)
        if (found := imports_of(path, *FORBIDDEN[package]))
    }
    assert wrong == {}


def test_decision_core_imports_no_framework_and_no_orm() -> None:
    wrong = {
        str(path): sorted(found)
        for path in modules("routing/pipeline")
        if (found := imports_of(path, *FRAMEWORKS, "accounts.models", "routing.models", "auditlog.models"))
    }
    assert wrong == {}


@pytest.mark.parametrize("package", GATEWAY_PACKAGES)
def test_gateway_imports_nothing_of_examples_benchmarks_or_tests(package: str) -> None:
    outside = ("examples", "benchmarks", "tests", "pytest")
    assert [str(path) for path in modules(package) if imports_of(path, *outside)] == []


def test_imports_are_read_wherever_they_stand(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("from routing import models\ndef f():\n    import accounts.keys\n")
    assert imports_of(module, "routing", "accounts") == {"routing", "routing.models", "accounts.keys"}
