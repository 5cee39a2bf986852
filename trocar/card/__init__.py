"""Model cards and bills of materials of bundles: what is known about a model, measured or stated.

``trocar.card.facts`` collects, ``markdown`` and ``cyclonedx`` write.
"""
