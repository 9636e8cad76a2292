"""Stacks with inputs and outputs: tokens in, logits out."""
