"""What people ask for: one function per task, the options they share, and the one flow behind all of them."""
