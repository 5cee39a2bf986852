"""Adding classes to a classifier bundle from photographs."""
