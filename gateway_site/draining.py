"""Whether this process has been told to end: it still serves, but readiness says to send it nothing new."""


class DrainState:
    announced = False


state = DrainState()
