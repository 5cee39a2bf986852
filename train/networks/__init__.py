"""Networks that the methods train."""
