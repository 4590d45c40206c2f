"""The one canonical target: what it is made of, and what is refused."""

import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.pipeline.errors import BadTarget
from routing.pipeline.target import canonical_path, canonical_query

CANONICAL = {
    "root": (b"/", b"/"),
    "plain": (b"/orders/7", b"/orders/7"),
    "trailing-slash": (b"/orders/", b"/orders/"),
    "case-is-kept": (b"/Orders", b"/Orders"),
    "needless-escape": (b"/%6frders/%37", b"/orders/7"),
    "needless-tilde": (b"/%7Ebob", b"/~bob"),
    "lower-case-escape": (b"/caf%c3%a9", b"/caf%C3%A9"),
    "raw-utf-8": ("/café".encode(), b"/caf%C3%A9"),
    "space": (b"/a%20b", b"/a%20b"),
    "quote": (b'/a"b', b"/a%22b"),
    "braces": (b"/{id}|^`<>[]", b"/%7Bid%7D%7C%5E%60%3C%3E%5B%5D"),
    "marks-that-stay": (b"/a!$&'()*+,=:@-._~b", b"/a!$&'()*+,=:@-._~b"),
    "escaped-marks-that-need-none": (b"/%21%24%40%3A", b"/!$@:"),
    "dots-within-a-name": (b"/a..b/.../c.", b"/a..b/.../c."),
    "hidden-file": (b"/.env", b"/.env"),
    "non-character": ("/\ufeff\u2028".encode(), b"/%EF%BB%BF%E2%80%A8"),
}
REFUSED = {
    "empty": b"",
    "asterisk": b"*",
    "authority": b"example.com:443",
    "absolute": b"http://example.com/x",
    "no-slash": b"orders",
    "dot": b"/a/./b",
    "dot-dot": b"/a/../b",
    "dot-at-the-end": b"/a/.",
    "dot-dot-at-the-end": b"/a/..",
    "dot-dot-first": b"/../a",
    "dot-encoded": b"/a/%2e/b",
    "dot-dot-encoded": b"/a/%2E%2e/b",
    "dot-half-encoded": b"/a/.%2e/b",
    "dot-encoded-in-a-name": b"/a%2eb",
    "dot-twice-encoded": b"/a/%252e%252e/b",
    "dot-with-parameter": b"/a/..;/b",
    "dot-beside-encoded-slash": b"/a%2f..%2fb",
    "dot-after-encoded-slash": b"/a%2F.",
    "double-slash": b"/a//b",
    "double-slash-first": b"//evil.example/a",
    "double-slash-last": b"/a//",
    "double-slash-encoded": b"/a%2f/b",
    "double-slash-both-encoded": b"/a%2f%2fb",
    "backslash": b"/a\\b",
    "backslash-encoded": b"/a%5cb",
    "backslash-dots": b"/a/..\\b",
    "semicolon": b"/a;v=1",
    "semicolon-encoded": b"/a%3bv",
    "question-encoded": b"/a%3fb",
    "hash": b"/a#b",
    "hash-encoded": b"/a%23b",
    "percent-encoded": b"/a%25b",
    "percent-twice": b"/a%2541",
    "nul": b"/a%00b",
    "nul-raw": b"/a\x00b",
    "line-feed": b"/a%0ab",
    "carriage-return": b"/a%0Db",
    "tab": b"/a%09b",
    "escape": b"/a%1bb",
    "delete": b"/a%7fb",
    "raw-space": b"/a b",
    "raw-control": b"/a\x01b",
    "raw-delete": b"/a\x7fb",
    "broken-escape": b"/a%zzb",
    "half-escape": b"/a%4",
    "bare-percent": b"/a%",
    "signed-escape": b"/a%+1b",
    "unicode-escape": b"/a%u002e",
    "overlong-dot": b"/a%c0%ae",
    "overlong-slash": b"/a%c0%af",
    "overlong-slash-raw": b"/a\xc0\xafb",
    "latin-1": b"/caf%e9",
    "surrogate": b"/%ed%a0%80",
    "cut-utf-8": b"/%c3",
}


@pytest.mark.parametrize("raw, canonical", CANONICAL.values(), ids=CANONICAL.keys())
def test_path_has_one_canonical_form(raw: bytes, canonical: bytes) -> None:
    assert canonical_path(raw) == (canonical, False)


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_path_that_could_be_read_in_two_ways_is_refused(raw: bytes) -> None:
    with pytest.raises(BadTarget):
        canonical_path(raw)


@pytest.mark.parametrize("raw", [b"/a%2fb", b"/a%2Fb", b"/%2f"], ids=["lower", "upper", "alone"])
def test_encoded_slash_is_told_apart_for_the_route_to_judge(raw: bytes) -> None:
    if raw == b"/%2f":
        # Decoded it would be an empty segment.
        with pytest.raises(BadTarget):
            canonical_path(raw)
        return
    assert canonical_path(raw) == (b"/a%2Fb", True)


PIECES = [
    *rb"/ . .. %2e %2F %2f a %41 %c3%a9 ; % ~ \ %5C // %25 + %20 orders : @ %00 ? #".split(),
    "é".encode(),
]
RAW_PATHS = st.one_of(
    st.binary(max_size=40).map(lambda tail: b"/" + tail),
    st.lists(
        st.sampled_from(PIECES),
        max_size=12,
    ).map(lambda parts: b"/" + b"".join(parts)),
    st.text(max_size=20).map(lambda text: b"/" + text.encode(errors="surrogatepass")),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(RAW_PATHS)
def test_canonical_path_is_safe_for_every_later_parser(raw: bytes) -> None:
    try:
        path, encoded_slash = canonical_path(raw)
    except BadTarget:
        return
    # Once more changes nothing.
    assert canonical_path(path) == (path, encoded_slash)
    # It says what was asked for, neither more nor less.
    assert unquote_to_bytes(path) == unquote_to_bytes(raw)
    assert re.fullmatch(rb"/(?:[A-Za-z0-9\-._~!$&'()*+,=:@/]|%[0-9A-F]{2})*", path)
    for read in (path, unquote_to_bytes(path)):
        assert b"//" not in read
        assert not {b".", b".."} & set(read.split(b"/"))
        assert not re.search(rb"[\x00-\x1f\x7f\\]", read)
    assert encoded_slash == (b"%2F" in path)
    # A second decoder finds nothing more to decode.
    assert unquote_to_bytes(unquote_to_bytes(path)) == unquote_to_bytes(path)


QUERIES = {
    "empty": (b"", b"", None, None),
    "none": (b"a=1&b=2", b"a=1&b=2", None, None),
    "alone": (b"api_key=k", b"", b"k", None),
    "first": (b"api_key=k&a=1", b"a=1", b"k", None),
    "between": (b"a=1&api_key=k&b=2", b"a=1&b=2", b"k", None),
    "ticket": (b"a=1&ticket=t", b"a=1", None, b"t"),
    "both": (b"ticket=t&api_key=k", b"", b"k", b"t"),
    "upper-case": (b"API_KEY=k", b"", b"k", None),
    "encoded-name": (b"api%5Fkey=k", b"", b"k", None),
    "all-encoded-name": (b"%61%70%69%5f%6b%65%79=k&a=1", b"a=1", b"k", None),
    "encoded-value": (b"api_key=a%2Bb+c", b"", b"a+b c", None),
    "no-value": (b"api_key", b"", b"", None),
    "value-with-equals": (b"api_key=a=b", b"", b"a=b", None),
    "name-with-space": (b"+api_key+=k", b"", b"k", None),
    "name-in-a-value": (b"q=api_key", b"q=api_key", None, None),
    "longer-name": (b"my_api_key=1&tickets=2", b"my_api_key=1&tickets=2", None, None),
    "escapes-stay": (b"q=%41%zz", b"q=%41%zz", None, None),
    "raw-utf-8": ("q=é".encode(), b"q=%C3%A9", None, None),
    "semicolon-alone": (b"a=1;b=2", b"a=1;b=2", None, None),
    "question-mark": (b"a=?", b"a=?", None, None),
}
REFUSED_QUERIES = {
    "twice": b"api_key=a&api_key=b",
    "twice-encoded": b"api_key=a&api%5fkey=b",
    "twice-case": b"ticket=a&TICKET=b",
    "behind-a-semicolon": b"a=1;api_key=k",
    "before-a-semicolon": b"api_key=k;a=1",
    "space": b"a=b c",
    "hash": b"a=b#c",
    "nul": b"a=\x00",
    "line-feed": b"a=1\nb",
    "delete": b"a=\x7f",
    "latin-1": b"a=\xe9",
}


@pytest.mark.parametrize("raw, kept, key, ticket", QUERIES.values(), ids=QUERIES.keys())
def test_credentials_are_taken_out_of_the_query(
    raw: bytes, kept: bytes, key: bytes | None, ticket: bytes | None
) -> None:
    assert canonical_query(raw) == (kept, key, ticket)


@pytest.mark.parametrize("raw", REFUSED_QUERIES.values(), ids=REFUSED_QUERIES.keys())
def test_query_that_could_hide_something_is_refused(raw: bytes) -> None:
    with pytest.raises(BadTarget):
        canonical_query(raw)


PAIRS = st.lists(
    st.sampled_from(
        [
            b"",
            "é=1".encode(),
            *b"a=1 b =x q=%26api_key=1 a;b c=%3D".split(),
            *b"api_key=SECRET Api%5FKey=SECRET +ticket=SECRET %74icket=SECRET api_key%20=SECRET".split(),
            *b"x;api_key=SECRET ticket=SECRET;y API_KEY%09=SECRET".split(),
        ]
    ),
    max_size=8,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(PAIRS)
def test_no_credential_is_left_in_the_query(pairs: list[bytes]) -> None:
    try:
        kept, _, _ = canonical_query(b"&".join(pairs))
    except BadTarget:
        return
    assert b"SECRET" not in kept
    assert canonical_query(kept) == (kept, None, None)
    # What stays keeps its order and its spelling.
    innocent = [pair for pair in pairs if b"SECRET" not in pair]
    expected = b"&".join(innocent).replace("é".encode(), b"%C3%A9")
    assert kept == expected
