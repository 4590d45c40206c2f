"""Run the orders service: `python -m examples.orders --help`."""

from examples.orders.app import build_app
from examples.serve import serve

if __name__ == "__main__":
    serve("orders", build_app, default_port=9002)
