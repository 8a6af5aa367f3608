"""What a network knows: taps, similarity of layers, probes, softness of targets."""
