"""Run the users service: `python -m examples.users --help`."""

from examples.serve import serve
from examples.users.app import build_app

if __name__ == "__main__":
    serve("users", build_app, default_port=9004)
