"""`trocar evaluate`: models scored on labelled frames and photographs.

    evaluation = score(open_predictor(path), frames)          # trocar.evaluation.scoring

The parity gate asks whether two networks agree (`trocar.export.parity.label_metrics`); this asks whether one
is right.
"""
