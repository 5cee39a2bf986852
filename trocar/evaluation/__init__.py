"""Scores models on labelled frames and photographs; used by `trocar evaluate` and `prelabel`.

from trocar.evaluation.model import open_predictor
labels, confidence = open_predictor(Path("model.trocar")).predict(frame)

The parity gate (`trocar.export.parity`) tests whether two networks agree. This package tests
whether one network is right.
"""
