"""The ground of every room: class tables, manifests, bundles, results, configuration, errors.

Standard library and NumPy, and the TOML pair ``tomli``/``tomli-w``; only `flags` imports click.
It imports none of the other rooms.
"""
