"""Lightning modules and the training loop around them."""
