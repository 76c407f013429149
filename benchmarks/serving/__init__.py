"""What stands behind the constants of serving, and the facts that it has to reproduce."""
