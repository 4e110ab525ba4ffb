"""The command line."""

from dipjax.app.program import main as main
