"""What torchmetrics lacks: fidelity, calibration and cost."""
