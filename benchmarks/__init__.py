"""Scripts that measure dipjax, and the rivals that they measure it against."""
