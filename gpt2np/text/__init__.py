"""Text and token ids: GPT-2's byte-level BPE, BERT's WordPiece, the decoder for streams, the learning of vocabularies."""
