"""Text and token ids: GPT-2's byte-level BPE, its decoder for streams, and the learning of a vocabulary."""
