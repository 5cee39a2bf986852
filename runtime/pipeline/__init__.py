"""From source to sinks: frames in, results out, in order or newest first."""
