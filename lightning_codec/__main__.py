"""`python -m lightning_codec`: the same as the console script `lightning-codec`."""

import sys

from lightning_codec.cli import main

if __name__ == "__main__":
    sys.exit(main())
