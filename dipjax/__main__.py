"""Runs the command line: `python -m dipjax`."""

import sys

from dipjax.cli import main

sys.exit(main())
