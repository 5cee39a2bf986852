"""Loggers of runs: TensorBoard, CSV, MLflow, Weights & Biases, behind one protocol."""
