"""Text from token ids as they arrive: never a broken character, and in the end the same text as from all ids at once.

A token is a string of bytes, and a character of UTF-8 has up to four bytes, which may come in several tokens: "世" is
two. Decoded alone, each of these tokens would print as the replacement character U+FFFD.
"""

import codecs
from collections.abc import Callable, Sequence

from .protocol import AnyTokenizer
from .vocabulary import TokenizerError


class StreamingDecoder:
    """Decodes one token at a time, and holds back the bytes of a character until it is complete.

        decoder = StreamingDecoder(tokenizer)
        for i in ids:
            print(decoder.feed(i), end="", flush=True)
        print(decoder.finish())
    """

    def __init__(self, tokenizer: AnyTokenizer):
        self._tokenizer = tokenizer
        # It keeps what may be the beginning of a character, and replaces at once what cannot be.
        self._characters = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: int) -> str:
        """The text that is certain after one more token: "" inside a character. TokenizerError for an unknown id."""
        return self._characters.decode(self._tokenizer.decode_bytes([token]))

    def finish(self) -> str:
        """The text of what was held back: U+FFFD for a character cut off. The decoder is then as new."""
        return self._characters.decode(b"", final=True)


class StoppingDecoder:
    """A StreamingDecoder that ends before <|endoftext|> and before the first stop string.

        decoder = StoppingDecoder(tokenizer, ["\n\n"])
        for i in ids:
            print(decoder.feed(i), end="", flush=True)
        print(decoder.finish())

    A stop string may begin and end inside tokens: what may be the beginning of one is held back until it is certain.
    TokenizerError for an empty one.
    """

    def __init__(self, tokenizer: AnyTokenizer, stops: str | Sequence[str] = ()):
        self._decoder, self._stops, self._held = StreamingDecoder(tokenizer), stop_strings(stops), ""
        self._end_of_text, self.stopped = tokenizer.end_of_text, False

    def feed(self, token: int) -> str:
        """The text that is certain after one more token; "" once it has stopped."""
        if token != self._end_of_text:
            return self._certain(self._decoder.feed(token))
        text, self.stopped = self.finish(), True
        return text

    def finish(self) -> str:
        """The text of what was held back, unless it has stopped."""
        text = self._certain(self._decoder.finish()) + self._held
        self._held = ""
        return text

    def _certain(self, text: str) -> str:
        if self.stopped:
            return ""
        self._held += text
        found = [at for at in map(self._held.find, self._stops) if at >= 0]
        self.stopped = bool(found)
        end = min(found) if found else len(self._held) - self._begun()
        certain, self._held = self._held[:end], "" if found else self._held[end:]
        return certain

    def _begun(self) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        longest = max(map(len, self._stops), default=1) - 1
        return next((n for n in range(min(longest, len(self._held)), 0, -1)
                     if any(stop.startswith(self._held[-n:]) for stop in self._stops)), 0)


def stops_at(tokenizer: AnyTokenizer, stops: str | Sequence[str]) -> Callable[[Sequence[int]], bool]:
    """Whether a text has just come to a stop string: the `stop` of generate, generate_batch and the others.

    They end the text with the token that completes it, which StoppingDecoder and text_before then cut. TokenizerError
    for a stop string that is empty.
    """
    texts = [stop.encode("utf-8") for stop in stop_strings(stops)]
    longest = max(map(len, texts), default=0)           # a token has at least one byte, so it needs no more tokens

    def stop(written: Sequence[int]) -> bool:
        tail = tokenizer.decode_bytes(written[max(0, len(written) - longest):])
        return any(text in tail for text in texts)

    return stop


def text_before(tokenizer: AnyTokenizer, written: Sequence[int], stops: str | Sequence[str] = ()) -> str:
    """The text of what was written, before <|endoftext|> and before the first stop string."""
    decoder = StoppingDecoder(tokenizer, stops)
    return "".join(map(decoder.feed, written)) + decoder.finish()


def stop_strings(stops: str | Sequence[str]) -> list[str]:
    """The stop strings: one alone, or several. TokenizerError where one is empty, since every text holds that."""
    stops = [stops] if isinstance(stops, str) else list(stops)
    if "" in stops:
        raise TokenizerError("stop: expected texts of at least one character, got an empty one")
    return stops
