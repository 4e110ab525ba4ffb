"""Runs the command line: `python -m dipjax`."""

import sys

from dipjax.app.cli import main

sys.exit(main())
