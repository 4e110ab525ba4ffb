"""Runs the command line: `python -m dipjax`."""

import sys

from dipjax.app import main

sys.exit(main())
