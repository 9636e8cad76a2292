"""Text and token ids: GPT-2's byte-level BPE, its decoder for streams, the learning of a vocabulary; BLEU; labels."""
