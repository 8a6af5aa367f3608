"""What a run leaves for others: weights, ONNX, a model card, a version in the registry."""
