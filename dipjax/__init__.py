"""Deep image prior in JAX."""
