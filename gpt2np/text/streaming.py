"""Text from token ids as they arrive: never a broken character, and in the end the same text as from all ids at once.

A token is a string of bytes, and a character of UTF-8 has up to four bytes, which may come in several tokens: "世" is
two. Decoded alone, each of these tokens would print as the replacement character U+FFFD.
"""

import codecs

from .bpe import Tokenizer


class StreamingDecoder:
    """Decodes one token at a time, and holds back the bytes of a character until it is complete.

        decoder = StreamingDecoder(tokenizer)
        for i in ids:
            print(decoder.feed(i), end="", flush=True)
        print(decoder.finish())
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        # It keeps what may be the beginning of a character, and replaces at once what cannot be.
        self._characters = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: int) -> str:
        """The text that is certain after one more token: "" inside a character. TokenizerError for an unknown id."""
        return self._characters.decode(self._tokenizer.decode_bytes([token]))

    def finish(self) -> str:
        """The text of what was held back: U+FFFD for a character cut off. The decoder is then as new."""
        return self._characters.decode(b"", final=True)
