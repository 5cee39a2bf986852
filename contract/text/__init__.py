"""Text: words for people, strict JSON, TOML."""
