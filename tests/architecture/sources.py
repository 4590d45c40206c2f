"""Read the project's own files: what git tracks, what a module imports."""

import ast
import functools
import subprocess
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parent.parent.parent
GATEWAY_PACKAGES = ("gateway_site", "accounts", "routing", "auditlog")


@functools.cache
def tracked_files() -> tuple[Path, ...]:
    """Every file that git tracks or would (new and not ignored), relative to the project."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT_DIR,
        capture_output=True,
        check=True,
    ).stdout
    names = (name.decode() for name in listed.split(b"\0") if name)
    return tuple(sorted(Path(name) for name in names if (PROJECT_DIR / name).is_file()))


def modules(*packages: str) -> list[Path]:
    """The Python files below these packages (all of the project without any), migrations left out."""
    return [
        path
        for path in tracked_files()
        if path.suffix == ".py"
        and "migrations" not in path.parts
        and (not packages or any(path.is_relative_to(package) for package in packages))
    ]


def text(path: Path) -> str:
    return (PROJECT_DIR / path).read_text()


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(text(path), str(path))


def imported_modules(path: Path) -> set[str]:
    """Dotted names of all that a module imports, inside functions too; `from a import b` gives a and a.b."""
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(path, node)
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def _absolute(path: Path, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    package = path.parent.parts[: len(path.parent.parts) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])


def imports_of(path: Path, *packages: str) -> set[str]:
    """What `path` imports of these packages."""
    return {
        name
        for name in imported_modules(path)
        for package in packages
        if name == package or name.startswith(f"{package}.")
    }
