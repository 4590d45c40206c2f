"""Run the backtest engine service: `python -m examples.backtest_engine --help`."""

from examples.backtest_engine.app import build_app
from examples.serve import serve

if __name__ == "__main__":
    serve("backtest_engine", build_app, default_port=9001)
