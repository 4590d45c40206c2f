"""Turn the file's `secret` or `digest` of an API key into the stored digest. Keeps no secret."""

import re
from typing import Any

from accounts.keys import WeakKey, check_imported_secret, digest_of
from routing.configuration_file.problems import Problem
from routing.configuration_file.rows import DIGEST_PREFIX
from routing.configuration_file.shapes import Entry

_DIGEST = re.compile(rf"\A{DIGEST_PREFIX}[0-9a-f]{{64}}\Z")
_PUBLIC_ID = re.compile(r"\A[A-Za-z0-9-]{1,32}\Z")


def digest_keys(principals: list[Entry]) -> list[Problem]:
    """Replace `secret` and the text of `digest` in every API key by the digest's bytes.

    Reports unusable ones, and those that stand in the file twice: a key names one principal.
    """
    problems: list[Problem] = []
    holders: dict[Any, Entry] = {}
    for key in (key for principal in principals for key in principal["api_keys"]):
        problem = _digest(key)
        if problem is not None:
            problems.append(problem)
            key.broken = True
            continue
        for what, identity in (("key", key["digest"]), ("public_id", key["public_id"])):
            earlier = holders.setdefault((what, identity), key)
            if identity is not None and earlier is not key:
                problems.append(key.problem("name", f"the same {what} stands in line {earlier.line} already"))
                key.broken = True
    return problems


def _digest(key: Entry) -> Problem | None:
    secret, digest, public_id = key.pop("secret"), key["digest"], key["public_id"]
    key["digest"] = None
    if key.broken:
        return None
    if public_id is not None and not _PUBLIC_ID.match(public_id):
        return key.problem("public_id", "a public id has 1 to 32 letters, digits or hyphens")
    if secret is not None:
        try:
            check_imported_secret(secret)
        except WeakKey as error:
            return key.problem("secret", str(error))
        key["digest"] = digest_of(secret)
    elif _DIGEST.match(digest):
        key["digest"] = bytes.fromhex(digest.removeprefix(DIGEST_PREFIX))
    else:
        return key.problem("digest", f"a digest is {DIGEST_PREFIX} and 64 hexadecimal digits")
    return None
