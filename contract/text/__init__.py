"""Text: words for people, strict and canonical JSON, TOML."""
