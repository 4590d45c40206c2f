"""The admin's files arrive whole, in parts when parts are asked for, and without a stream."""

import pytest
from django.test import Client

PATH = "/static/admin/css/base.css"


@pytest.fixture
def client() -> Client:
    return Client()


def test_file_comes_in_one_piece(client: Client) -> None:
    response = client.get(PATH)
    assert response.status_code == 200
    assert not response.streaming
    assert response["Content-Type"].startswith("text/css")
    assert int(response["Content-Length"]) == len(response.content) > 1000


def test_part_of_a_file_is_that_part(client: Client) -> None:
    whole = client.get(PATH).content
    response = client.get(PATH, headers={"Range": "bytes=10-19"})
    assert response.status_code == 206
    assert response.content == whole[10:20]


def test_head_and_a_copy_that_is_still_good_have_no_body(client: Client) -> None:
    response = client.get(PATH)
    assert client.head(PATH).content == b""
    again = client.get(PATH, headers={"If-Modified-Since": response["Last-Modified"]})
    assert (again.status_code, again.content) == (304, b"")


def test_file_that_is_not_there_is_404(client: Client) -> None:
    assert client.get("/static/../../manage.py").status_code == 404
    assert client.get("/static/nothing.css").status_code == 404
