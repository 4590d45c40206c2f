"""The installation's secret keys: found, made once, and never readable by others."""

import stat
import threading
from pathlib import Path

import pytest

from gateway_site.keys import KEY_NAMES, KeyMissing, create_key, load_key


def test_environment_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_key("secret_key", tmp_path)
    monkeypatch.setenv("GATEWAY_SECRET_KEY", "from the environment")
    assert load_key("secret_key", tmp_path, may_create=False) == "from the environment"


def test_missing_key_is_made_only_where_it_may_be(tmp_path: Path) -> None:
    with pytest.raises(KeyMissing):
        load_key("secret_key", tmp_path / "keys", may_create=False)
    assert not (tmp_path / "keys").exists()
    key = load_key("secret_key", tmp_path / "keys", may_create=True)
    assert len(key) >= 43
    assert load_key("secret_key", tmp_path / "keys", may_create=False) == key


def test_keys_are_independent_and_their_owners_alone(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    keys = {create_key(name, directory) for name in KEY_NAMES}
    assert len(keys) == len(KEY_NAMES)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    # Nothing half-written is left.
    assert sorted(path.name for path in directory.iterdir()) == sorted(KEY_NAMES)


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    made: list[str] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        made.append(create_key("secret_key", tmp_path / "keys"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1
