"""Run all example services in one foreground process group: `python -m examples --help`."""

import sys

from examples.fleet import main

if __name__ == "__main__":
    sys.exit(main())
