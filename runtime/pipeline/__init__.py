"""A run from its source to its sinks: options, frame processor, queues, lossless mode."""
