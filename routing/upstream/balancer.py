"""Choose which of a service's targets gets a request. Round robin, by weight."""

from routing.snapshot import CompiledService, CompiledTarget


class Balancer:
    """Remembers whose turn it is, service by service."""

    def __init__(self) -> None:
        self._turns: dict[int, int] = {}

    def order(self, service: CompiledService) -> tuple[CompiledTarget, ...]:
        """The targets to try, the next in turn first: one, and as many more as the service has retries."""
        targets = service.targets
        if len(targets) <= 1:
            return targets
        slots = [index for index, target in enumerate(targets) for _ in range(target.weight)]
        turn = self._turns.get(service.id, 0)
        self._turns[service.id] = turn + 1
        first = slots[turn % len(slots)]
        return (targets[first:] + targets[:first])[: service.retries + 1]

    def give_back(self, service: CompiledService) -> None:
        """The turn that was taken last was not used: whoever asks next gets it."""
        if service.id in self._turns:
            self._turns[service.id] -= 1
