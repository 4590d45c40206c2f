"""Credentials that are looked up on demand: once for all who ask, and never older than what is served."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from accounts.directory import Directory
from routing.configuration_source import FoundCredential
from routing.pipeline.errors import CredentialsUnavailable
from routing.runtime import Runtime, development_identity, static_identities
from tests.accounts.directory_rows import PEPPER, digest_of, key, principal
from tests.routing.event_loop import run, until
from tests.routing.replicas import new_runtime
from tests.routing.rows import snapshot_of


class Database:
    """Answers look-ups when it is let, and counts them."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.go = threading.Event()
        self.go.set()

    def find(self, digest: bytes) -> FoundCredential | None:
        self.asked += 1
        assert self.go.wait(10)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def found(revision: int, **fields: Any) -> FoundCredential:
    return FoundCredential(revision, key(1, **fields), [principal(1, "alice")])


def scenario(database: Database, steps: Any, revision: int = 1) -> Runtime:
    async def play() -> Runtime:
        with ThreadPoolExecutor(2) as executor:
            runtime = new_runtime(10, executor, database.find)
            runtime.directory = Directory(PEPPER, 10)
            runtime.serve_snapshot(snapshot_of().at_revision(revision))
            await steps(runtime)
            assert runtime._lookups == {}
            return runtime

    return run(play())


def name_of(runtime: Runtime) -> str | None:
    identity = runtime.directory.identity_by_digest(digest_of(1))
    return identity.name if identity else None


def test_all_who_ask_at_once_share_one_look_up() -> None:
    database = Database(found(1))
    database.go.clear()

    async def steps(runtime: Runtime) -> None:
        asking = [asyncio.ensure_future(runtime.load_credential(digest_of(1))) for _ in range(50)]
        await until(lambda: database.asked, "the look-up begins")
        # One of them gives up: the others get their answer all the same.
        asking[0].cancel()
        database.go.set()
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [None] * 49
        await asyncio.sleep(0)

    assert name_of(scenario(database, steps)) == "alice"
    assert database.asked == 1


def test_look_up_that_everybody_left_ends_quietly() -> None:
    database = Database(RuntimeError("gone"))
    database.go.clear()

    async def steps(runtime: Runtime) -> None:
        asking = asyncio.ensure_future(runtime.load_credential(digest_of(1)))
        await until(lambda: database.asked, "the look-up begins")
        asking.cancel()
        database.go.set()
        await until(lambda: not runtime._lookups, "the look-up ends")

    scenario(database, steps)


@pytest.mark.parametrize("error", [RuntimeError("x"), OSError("x"), TimeoutError()], ids=repr)
def test_database_that_fails_is_503_and_asked_again_later(error: Exception) -> None:
    database = Database(error, found(1))

    async def steps(runtime: Runtime) -> None:
        with pytest.raises(CredentialsUnavailable):
            await runtime.load_credential(digest_of(1))
        await asyncio.sleep(0)
        await runtime.load_credential(digest_of(1))
        await asyncio.sleep(0)

    assert name_of(scenario(database, steps)) == "alice"


def test_look_up_overtaken_by_a_revocation_does_not_revive_the_key() -> None:
    """The rows were read before the revocation, and arrive after it was served."""
    database = Database(found(1), found(2, revoked_at=5.0))
    database.go.clear()

    async def steps(runtime: Runtime) -> None:
        asking = asyncio.ensure_future(runtime.load_credential(digest_of(1)))
        await until(lambda: database.asked, "the look-up begins")
        runtime.directory.put_credential(key(1, revoked_at=5.0))
        runtime.serve_snapshot(snapshot_of().at_revision(2))
        database.go.set()
        await asking
        await asyncio.sleep(0)

    runtime = scenario(database, steps)
    identity = runtime.directory.identity_by_digest(digest_of(1))
    assert identity is not None
    assert identity.credential is not None
    assert identity.credential.revoked_at == 5.0
    assert database.asked == 2


def test_database_that_stays_behind_is_503() -> None:
    database = Database(found(1))

    async def steps(runtime: Runtime) -> None:
        with pytest.raises(CredentialsUnavailable, match="behind"):
            await runtime.load_credential(digest_of(1))
        await asyncio.sleep(0)

    assert name_of(scenario(database, steps, revision=5)) is None
    assert database.asked == 3


def test_keys_of_the_environment_may_do_everything_and_empty_ones_nothing() -> None:
    directory = Directory(PEPPER)
    static_identities(directory, ["first-key-of-the-environment", " ", "", " second-key-of-the-environment "])
    for number, secret in enumerate((b"first-key-of-the-environment", b"second-key-of-the-environment"), 1):
        identity = directory.identity_by_digest(directory.digest(secret))
        assert identity is not None
        assert identity.credential is not None
        assert identity.permissions == {"*:*"}
        assert identity.credential.public_id == f"env-{number}"
    for secret in (b"", b" "):
        assert directory.identity_by_digest(directory.digest(secret)) is None
    assert development_identity().credential is None
