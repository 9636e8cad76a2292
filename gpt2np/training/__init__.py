"""Training: from gradients to better weights, in steps that can be stopped, repeated and shared among threads."""
