"""Loss functions and the terms that methods share."""
