"""GPT-2 in NumPy alone: every layer's forward pass, its hand-written backward pass, and proof that both are right."""
