"""How the settings of all rules are checked."""

from typing import Any


def check(name: str, value: Any, is_right: bool, expected: str) -> None:
    """Raises a ValueError where a setting is not right."""
    if not is_right:
        raise ValueError(f"{name}: found {value!r}, expected {expected}.")


def check_sigma(sigma: float | None) -> None:
    """Raises a ValueError where the noise is no positive number."""
    check("sigma", sigma, sigma is None or sigma > 0, "a positive number, or None to estimate it")
