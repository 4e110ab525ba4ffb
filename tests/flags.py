"""Flags of JAX for the length of a test."""

import contextlib

import jax


@contextlib.contextmanager
def sixty_four_bits(on=True):
    """Switches 64 bits on or off; JAX before 0.8 has no context manager of its own for it."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", on)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)
