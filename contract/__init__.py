"""What every package shares: class tables, manifests, bundles, results, configuration, errors.

Standard library, NumPy, OpenCV's codecs and the TOML pair ``tomli``/``tomli-w``. It imports none
of the other packages and no click.
"""
