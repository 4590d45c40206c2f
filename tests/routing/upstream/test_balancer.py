"""Whose turn it is among a service's targets."""

from collections import Counter

from routing.upstream.balancer import Balancer
from tests.routing.rows import compiled, route_row, service_row

URLS = [f"http://192.0.2.{number}" for number in (1, 2, 3)]


def test_every_target_is_named_once_and_turns_go_round() -> None:
    service = compiled(route_row("x", "/"), service_row(1, *URLS, retries=2)).service
    balancer = Balancer()
    firsts = []
    for _ in range(6):
        order = [target.url for target in balancer.order(service)]
        assert sorted(order) == URLS
        firsts.append(order[0])
    assert firsts == URLS * 2


def test_weights_share_the_turns() -> None:
    row = service_row(1, *URLS)
    for target, weight in zip(row["targets"], (3, 1, 2), strict=True):
        target["weight"] = weight
    service = compiled(route_row("x", "/"), row).service
    balancer = Balancer()
    firsts = Counter(balancer.order(service)[0].url for _ in range(60))
    assert firsts == {URLS[0]: 30, URLS[1]: 10, URLS[2]: 20}
