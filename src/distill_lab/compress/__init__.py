"""Methods that make a trained network smaller or faster: a module in, a module out."""
