"""Text from token ids as they arrive: never a broken character, and in the end the same text as from all ids at once.

A token of BPE is a string of bytes, and a character of UTF-8 has up to four bytes, which may come in several tokens:
"世" is two. Decoded alone, each of these tokens would print as the replacement character U+FFFD.
A token of WordPiece is a part of a word, and whether a space is written before it depends on the token before. So that
one is remembered; where a text goes on from a prompt, it is at first the last of the prompt, which is called `after`.
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

    after   the tokens of the text before, if there is one: it is not decoded again
    """

    def __init__(self, tokenizer: AnyTokenizer, after: Sequence[int] = ()):
        self._tokenizer = tokenizer
        self._first = self._before = last_of(tokenizer, after)
        # It keeps what may be the beginning of a character, and replaces at once what cannot be.
        self._characters = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: int) -> str:
        """The text that is certain after one more token: "" inside a character. TokenizerError for an unknown id."""
        data = bytes_after(self._tokenizer, self._before, [token])
        self._before = [token]
        return self._characters.decode(data)

    def finish(self) -> str:
        """The text of what was held back: U+FFFD for a character cut off. The decoder is then as new."""
        self._before = self._first
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

    def __init__(self, tokenizer: AnyTokenizer, stops: str | Sequence[str] = (), after: Sequence[int] = ()):
        self._decoder, self._stops, self._held = StreamingDecoder(tokenizer, after), stop_strings(stops), ""
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


def stops_at(tokenizer: AnyTokenizer, stops: str | Sequence[str],
             after: Sequence[int] = ()) -> Callable[[Sequence[int]], bool]:
    """Whether a text has just come to a stop string: the `stop` of generate, generate_batch and the others.

    They end the text with the token that completes it, which StoppingDecoder and text_before then cut; what is in the
    prompt, `after`, ends nothing. TokenizerError for a stop string that is empty.
    """
    texts = [stop.encode("utf-8") for stop in stop_strings(stops)]
    longest = max(map(len, texts), default=0)           # a token has at least one byte, so it needs no more tokens
    first = last_of(tokenizer, after)

    def stop(written: Sequence[int]) -> bool:
        start = max(0, len(written) - longest)
        tail = bytes_after(tokenizer, written[start - 1:start] if start else first, written[start:])
        return any(text in tail for text in texts)

    return stop


def text_before(tokenizer: AnyTokenizer, written: Sequence[int], stops: str | Sequence[str] = (),
                after: Sequence[int] = ()) -> str:
    """The text of what was written, before <|endoftext|> and before the first stop string."""
    decoder = StoppingDecoder(tokenizer, stops, after)
    return "".join(map(decoder.feed, written)) + decoder.finish()


def last_of(tokenizer: AnyTokenizer, after: Sequence[int]) -> list[int]:
    """The last token of a text that goes on; none where that is the end of a text, which begins another one."""
    return [token for token in after[-1:] if token != tokenizer.end_of_text]


def bytes_after(tokenizer: AnyTokenizer, before: Sequence[int], ids: Sequence[int]) -> bytes:
    """What ids write after the token `before`, a list of one or none."""
    return tokenizer.decode_bytes([*before, *ids])[len(tokenizer.decode_bytes(before)):]


def stop_strings(stops: str | Sequence[str]) -> list[str]:
    """The stop strings: one alone, or several. TokenizerError where one is empty, since every text holds that."""
    stops = [stops] if isinstance(stops, str) else list(stops)
    if "" in stops:
        raise TokenizerError("stop: expected texts of at least one character, got an empty one")
    return stops
