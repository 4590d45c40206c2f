"""Run the products service: `python -m examples.products --help`."""

from examples.products.app import build_app
from examples.serve import serve

if __name__ == "__main__":
    serve("products", build_app, default_port=9003)
