"""Detached signatures of bundles in the format of OpenSSF model signing."""
