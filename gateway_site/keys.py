"""Find or make the installation's secret keys. Never logs one; knows nothing of Django.

Three independent keys, so that a leak of one gives away nothing of the others:
  secret_key       Django's sessions and CSRF
  api_key_pepper   HMAC key of stored API-key digests
  encryption_key   secrets at rest
"""

import os
import secrets
from pathlib import Path

KEY_NAMES = ("secret_key", "api_key_pepper", "encryption_key")


class KeyMissing(Exception):
    """A key is neither in the environment nor in the data directory."""


def environment_name(name: str) -> str:
    return f"GATEWAY_{name.upper()}"


def load_key(name: str, directory: Path, may_create: bool) -> str:
    """Return the key `name` from the environment, else from its file, else a new one.

    Raises KeyMissing when there is none and `may_create` is false.
    """
    from_environment = os.environ.get(environment_name(name), "")
    if from_environment:
        return from_environment
    path = directory / name
    if path.exists():
        return path.read_text().strip()
    if not may_create:
        raise KeyMissing(name)
    return create_key(name, directory)


def create_key(name: str, directory: Path) -> str:
    """Write a new 256-bit key readable by the owner only; a key that is already there wins."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = secrets.token_urlsafe(32)
    temporary = directory / f".{name}.{os.getpid()}.{secrets.token_hex(4)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key)
    try:
        # link() fails when the name exists: two processes starting at once agree on one key.
        os.link(temporary, directory / name)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return (directory / name).read_text().strip()
