"""Rules that decide which regions are instruments."""
