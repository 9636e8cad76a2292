"""Text and token ids: byte-level BPE, WordPiece, their decoder for streams, learning a vocabulary; BLEU; labels."""
