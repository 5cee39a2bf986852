"""Search for settings: many short runs of one recipe, scored on validation frames."""
