"""What is answered: the paths that there are, and the shapes of what they give back, OpenAI's among them."""

import base64
import hashlib
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ..decoding import Text
from ..page import html_page
from ..text.protocol import AnyTokenizer, is_text
from ..text.streaming import StoppingDecoder, StreamingDecoder, stops_at
from .asked import Limits, Refused, Wish
from .engine import Chosen, Event, Job

FINISHED = {"end_of_text": "stop", "stop": "stop"}      # OpenAI's word for what has ended a text; "length" for the rest
NOT_HERE = {
    "/v1/chat/completions": "; GPT-2 goes on from a text and has learned no dialogue: /v1/completions",
    "/v1/embeddings": "; for vectors of texts there is python -m gpt2np.similar",
    "/completion": "; it is /generate or /v1/completions here", "/completions": "; it is /v1/completions",
    "/api/generate": "; it is /generate or /v1/completions here", "/v1/generate": "; it is /generate",
    "/models": "; it is /v1/models",
}
BROKEN = {"time": (503, "the time for a text is over, and nothing has been written: come back later", "timeout"),
          "interrupt": (503, "the server has been ended", "ending"),
          "gone": (499, "the client has gone", "gone")}


def page(limits: Limits, name: str) -> tuple[bytes, str]:
    """The page to type in, and the policy that allows its own styles and script, by their hashes, and nothing else."""
    body = Path(__file__).with_name("page.html").read_text(encoding="utf-8").replace("{{tokens}}", str(limits.tokens))
    text = html_page(f"gpt2np: {name}", body)

    def hashes(tag: str) -> str:
        inside = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        return " ".join("'sha256-" + base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() + "'"
                        for one in inside)
    return text.encode(), (f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; "
                           "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
                           "frame-ancestors 'none'")


def piece(tokenizer: AnyTokenizer, token: int) -> str:
    r"""A token as a string of its own, bytes:\xe4\xb8 where it is a part of a character, as OpenAI's API has it."""
    data = tokenizer.decode_bytes([token])
    return data.decode() if is_text(data) else "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def jobs_of(wish: Wish, tokenizer: AnyTokenizer, seconds: float, wanted: Any) -> "tuple[list[Job], SimpleQueue[Event]]":
    """The texts that a request asks for, and where their events will come."""
    events: SimpleQueue[Event] = SimpleQueue()
    deadline = time.monotonic() + seconds
    prompts = [prompt for prompt in wish.prompts for _ in range(wish.n)]
    return [Job(i, Text(list(prompt), wish.max_new_tokens, wish.sampler, rng,
                        stops_at(tokenizer, wish.stop, prompt) if wish.stop else None),
                events, wish.stream, wish.logprobs, wanted, deadline)
            for i, (prompt, rng) in enumerate(zip(prompts, wish.rngs()))], events


def refusal(event: Event, n_written: int) -> Refused | None:
    """What is said of a text that has failed; None for one that has ended as it should.

    A text that is cut off by time is given as far as it is; one of which there is nothing is refused.
    """
    if event.ended == "error":
        return Refused(event.status, event.problem, code="cannot_be_written")
    if event.ended == "time" and n_written:
        return None
    return Refused(*BROKEN[event.ended][:2], code=BROKEN[event.ended][2]) if event.ended in BROKEN else None


class Answer:
    """What one request for texts gets: whole, or in parts as they come.  The shape is a subclass's."""

    def __init__(self, wish: Wish, tokenizer: AnyTokenizer):
        self.wish, self.tokenizer = wish, tokenizer
        after = [prompt for prompt in wish.prompts for _ in range(wish.n)]
        self.decoders = [StoppingDecoder(tokenizer, wish.stop, prompt) for prompt in after]
        self.offsets = [(StreamingDecoder(tokenizer, prompt), 0) for prompt in after]
        self.n_tokens = [0] * len(after)
        self.left = len(after)

    def read(self, event: Event) -> str:
        """The text that an event brings, up to what is certain; the rest of it with the last one."""
        decoder = self.decoders[event.number]
        self.n_tokens[event.number] += len(event.chosen)
        self.left -= bool(event.ended)
        text = "".join(decoder.feed(chosen.token) for chosen in event.chosen)
        return text + decoder.finish() if event.ended else text

    def parts(self, event: Event) -> Iterator[dict[str, Any]]:
        """The parts of a stream that an event makes."""
        raise NotImplementedError

    def last_parts(self) -> Iterator[dict[str, Any]]:
        """Those that come after all texts have ended."""
        return iter(())

    def whole(self, events: Sequence[Event]) -> dict[str, Any]:
        """The answer in one piece, of the last event of each text, in their order."""
        raise NotImplementedError


class OurAnswer(Answer):
    """/generate.

        {"texts": [{"text": ..., "ended_by": "stop", "tokens": 12}], "seed": 1}
        {"index": 0, "text": ...}   ...   {"index": 0, "text": ..., "ended_by": "stop", "tokens": 12, "seed": 1}

    ended_by   end_of_text, stop, max_new_tokens, or time
    """

    def parts(self, event: Event) -> Iterator[dict[str, Any]]:
        text = self.read(event)
        if event.ended:
            yield {"index": event.number, **self._ended(event, text), "seed": self.wish.seed}
        elif text:
            yield {"index": event.number, "text": text}

    def whole(self, events: Sequence[Event]) -> dict[str, Any]:
        return {"texts": [self._ended(event, self.read(event)) for event in events], "seed": self.wish.seed}

    def _ended(self, event: Event, text: str) -> dict[str, Any]:
        return {"text": text, "ended_by": event.ended, "tokens": self.n_tokens[event.number]}


class OpenAIAnswer(Answer):
    """/v1/completions, as in OpenAI's API: https://platform.openai.com/docs/api-reference/completions."""

    def __init__(self, wish: Wish, tokenizer: AnyTokenizer, model: str):
        super().__init__(wish, tokenizer)
        self.head = {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time()),
                     "model": model}
        self.begun = [not wish.echo] * len(self.decoders)

    def parts(self, event: Event) -> Iterator[dict[str, Any]]:
        choice = self._choice(event)
        if choice["text"] or event.ended or choice["logprobs"]:
            yield self._part([choice])

    def last_parts(self) -> Iterator[dict[str, Any]]:
        if self.wish.usage:
            yield self._part([]) | {"usage": self._usage()}

    def whole(self, events: Sequence[Event]) -> dict[str, Any]:
        choices = [self._choice(event) for event in events]
        return {**self.head, "choices": choices, "usage": self._usage()}

    def _part(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self.head, "choices": choices} | ({"usage": None} if self.wish.usage else {})

    def _choice(self, event: Event) -> dict[str, Any]:
        logprobs = None if self.wish.logprobs is None else self._logprobs(event)
        text = self.read(event)
        if not self.begun[event.number]:
            self.begun[event.number] = True
            text = self.wish.texts[event.number // self.wish.n] + text
        finish = FINISHED.get(event.ended, "length") if event.ended else None
        return {"text": text, "index": event.number, "logprobs": logprobs, "finish_reason": finish}

    def _usage(self) -> dict[str, int]:
        prompt, written = sum(map(len, self.wish.prompts)), sum(self.n_tokens)
        return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}

    def _logprobs(self, event: Event) -> dict[str, Any] | None:
        chosen = [one for one in event.chosen if one.token != self.tokenizer.end_of_text]
        if not chosen:
            return None
        return {"tokens": [piece(self.tokenizer, one.token) for one in chosen],
                "token_logprobs": [one.log_p for one in chosen],
                "top_logprobs": [{piece(self.tokenizer, i): p for i, p in one.likeliest} for one in chosen],
                "text_offset": [self._offset(event.number, one) for one in chosen]}

    def _offset(self, index: int, chosen: Chosen) -> int:
        """How many characters of the text were certain before a token."""
        decoder, before = self.offsets[index]
        self.offsets[index] = decoder, before + len(decoder.feed(chosen.token))
        return before
