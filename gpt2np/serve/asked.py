"""What is asked: the JSON of a request as checked values, or the sentence that says what is wrong with it.

null stands for what is not given, as in OpenAI's API.  A field that nobody knows is refused: what is passed over in
silence is a mistake that is found late.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..bytes_in import parse_json
from ..decoding.texts import check_prompt
from ..errors import Gpt2npError
from ..models.protocols import LanguageModel
from ..nearest import did_you_mean
from ..sampling import Sampler
from ..text.protocol import AnyTokenizer, end_of
from ..text.utf8 import decode_utf8

Checked = TypeVar("Checked")
Usual = TypeVar("Usual")
LARGEST_WHOLE = 2**63 - 1               # of a seed, as in OpenAI's API
MOST_STOPS, MOST_LOGPROBS = 16, 20
# The rules of sampling.py by their names, and what holds where nothing is said: the command's, and OpenAI's.
RULES = {"temperature": 0.8, "top_k": None, "top_p": 0.95, "openai_top_p": False, "min_p": 0.0, "typical_p": 1.0,
         "repetition_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0, "min_new_tokens": 0}
OPENAI_RULES = RULES | {"temperature": 1.0, "top_p": 1.0}
TYPES = {400: "invalid_request_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class Refused(Exception):
    """A request that is not done: its status, and what is said.

    param, code   of OpenAI's error object: which field is meant, and a name of the error for programs
    headers       more lines of the answer's head
    """

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None,
                 headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The error object of OpenAI's API."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class Limits(NamedTuple):
    """What one server does at most.

    texts, waiting         in the batch at once, and in the queue beside them
    tokens                 that are written for a text
    choices                texts of one request
    seconds                of a text, with its time in the queue
    body                   bytes of a request
    connections            open at once
    patience, idle         seconds for a request's headers and body to come, or an answer to be taken; and between two
                           requests of a connection
    """

    texts: int = 8
    waiting: int = 64
    tokens: int = 1024
    choices: int = 16
    seconds: float = 300.0
    body: int = 1 << 20
    connections: int = 256
    patience: float = 10.0
    idle: float = 60.0


@dataclass(frozen=True)
class Wish:
    """A request for texts: of each prompt n, in the order of the prompts.

    prompts, texts   as tokens, and as text, to be given back
    """

    prompts: list[list[int]]
    texts: list[str]
    n: int
    max_new_tokens: int
    sampler: Sampler
    stop: list[str]
    seed: int
    stream: bool
    logprobs: int | None = None
    echo: bool = False
    usage: bool = False

    def rngs(self) -> list[np.random.Generator]:
        """A generator for each text: the children of the seed's, as generate_batch and the command have them."""
        return np.random.default_rng(self.seed).spawn(len(self.prompts) * self.n)


# ---- JSON

def parse_body(data: bytes) -> dict[str, Any]:
    """The JSON object that a body is.  raises Refused"""
    try:
        value = parse_json(decode_utf8(data, "body"))
    except json.JSONDecodeError as error:
        raise Refused(400, f"body: expected JSON, got what is none: {error.msg.lower()} at character {error.pos}",
                      code="not_json") from None
    except Gpt2npError as error:
        raise Refused(400, str(error), code="not_utf8") from None
    except ValueError as error:
        raise Refused(400, f"body: expected JSON, got what is none: {error}", code="not_json") from None
    if not isinstance(value, dict):
        raise Refused(400, f"body: expected a JSON object, {{...}}, got {shown(value)}", code="not_json")
    return value


class Fields:
    """The fields of an object, to be taken one by one; `done` refuses those that are left."""

    def __init__(self, fields: Mapping[str, Any]):
        self.left = {name: value for name, value in fields.items() if value is not None}
        self.known, self.given = set[str](), set(fields)

    def take(self, name: str, check: Callable[[str, Any], Checked], usual: Usual) -> Checked | Usual:
        """The checked value of a field, or what holds where it is not given."""
        self.known.add(name)
        return check(name, self.left.pop(name)) if name in self.left else usual

    def done(self) -> None:
        """Refuse what nobody has taken."""
        for name in sorted(self.given - self.known):
            raise Refused(400, f"{shown(name)}: expected a field that there is, got one that is not known here"
                               f"{did_you_mean(name, self.known)}", name, "unknown_field")


def wrong(name: str, expected: str, value: Any) -> Refused:
    """The refusal of a field's value."""
    return Refused(400, f"{name}: expected {expected}, got {shown(value)}", name, "wrong_value")


def shown(value: Any) -> str:
    """A value, for a message: not more of it than can be read."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else f"a list of {len(value):,}"
    try:
        said = json.dumps(value, ensure_ascii=False)
    except ValueError:                                  # Python does not write numbers of thousands of digits
        return "a number of thousands of digits"
    return said if len(said) <= 40 else said[:37] + "..."


def is_whole(value: Any, least: int, most: int) -> bool:
    """Whether a value is a whole number in this range; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def whole(least: int, most: int = LARGEST_WHOLE) -> Callable[[str, Any], int]:
    """A whole number from least to most."""
    def check(name: str, value: Any) -> int:
        if not is_whole(value, least, most):
            upto = f"{least} or more" if most == LARGEST_WHOLE else f"{least} to {most:,}"
            raise wrong(name, f"a whole number from {upto}", value)
        return int(value)
    return check


def flag(name: str, value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise wrong(name, "true or false", value)
    return value


def text(name: str, value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        raise wrong(name, "a text, a string", value)
    return value


def number(name: str, value: Any) -> float:
    """A number that float64 can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= 1e300:
        raise wrong(name, "a number", value)
    return value


def texts(name: str, value: Any) -> list[str]:
    """One string, or several, none of them empty."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise wrong(name, "a text, or a list of texts, none of them empty", value)
    if len(found) > MOST_STOPS:
        raise wrong(name, f"at most {MOST_STOPS} texts", value)
    return found


def ids(n_vocab: int) -> Callable[[str, Any], list[int]]:
    """A list of token ids."""
    def check(name: str, value: Any) -> list[int]:
        if not isinstance(value, list):
            raise wrong(name, "a list of token ids", value)
        for one in value:
            if not is_whole(one, 0, n_vocab - 1):
                raise wrong(name, f"token ids from 0 to {n_vocab - 1:,}", one)
        return value
    return check


def biases(n_vocab: int) -> Callable[[str, Any], dict[int, float]]:
    """{"50256": -100}, as in OpenAI's API: the keys are token ids as strings."""
    def check(name: str, value: Any) -> dict[int, float]:
        if not isinstance(value, dict):
            raise wrong(name, 'an object of token ids and numbers, as {"50256": -100}', value)
        found = {}
        for key, bias in value.items():
            if not (key.isascii() and key.isdecimal() and len(key) < 12 and int(key) < n_vocab):
                raise wrong(name, f"token ids from 0 to {n_vocab - 1:,} as keys", key)
            found[int(key)] = number(name, bias)
        return found
    return check


# ---- requests

class Reader:
    """From a request's fields to what is to be done, for one model and its tokenizer.

    model, name   name is what OpenAI's API calls the model
    """

    def __init__(self, model: LanguageModel, tokenizer: AnyTokenizer, name: str, limits: Limits):
        self.model, self.tokenizer, self.name, self.limits = model, tokenizer, name, limits
        tokens = set(range(tokenizer.n_vocab)) - set(tokenizer.unused)
        self.most_bytes = model.n_ctx * max(len(tokenizer.decode_bytes([token])) for token in tokens)

    def generate(self, body: Mapping[str, Any]) -> Wish:
        """/generate: the names of python -m gpt2np.generate, and what holds there where nothing is said."""
        fields = Fields(body)
        prompt = fields.take("prompt", text, "")
        n = fields.take("num_return_sequences", whole(1), 1)
        most = fields.take("max_new_tokens", self._tokens, min(100, self.limits.tokens))
        forbid = fields.take("forbid", texts, ())
        words = [self.tokenizer.encode(space + word) for word in forbid for space in ("", " ")]
        sampler = self._sampler(fields, RULES, words)
        wish = self._wish(fields, [prompt], n, most, sampler)
        fields.done()
        return wish

    def completions(self, body: Mapping[str, Any]) -> Wish:
        """/v1/completions: OpenAI's names and defaults; those of sampling.py that it has not, too."""
        fields = Fields(body)
        self._model(fields)
        prompts = fields.take("prompt", self._prompts, None) or [""]
        n = fields.take("n", whole(1), 1)
        most = fields.take("max_tokens", self._tokens, min(16, self.limits.tokens))
        sampler = self._sampler(fields, OPENAI_RULES, [])
        best_of = fields.take("best_of", whole(1), n)
        if best_of != n:
            raise wrong("best_of", f"nothing, or the same as n, {n}: all that is written is given back", best_of)
        if fields.take("suffix", text, ""):
            raise Refused(400, "suffix: expected nothing: GPT-2 goes on from a text, and cannot write towards another",
                          "suffix", "wrong_value")
        fields.take("user", text, "")
        logprobs = fields.take("logprobs", whole(0, MOST_LOGPROBS), None)
        echo = fields.take("echo", flag, False)
        if echo and logprobs is not None:
            raise Refused(400, "logprobs: expected nothing beside echo: those of a prompt are not worked out here; "
                               "python -m gpt2np.evaluate measures a text", "logprobs", "wrong_value")
        options = Fields(fields.take("stream_options", an_object, dict[str, Any]()))
        usage = options.take("include_usage", flag, False)
        options.take("include_obfuscation", flag, False)
        options.done()
        wish = self._wish(fields, prompts, n, most, sampler, logprobs, echo, usage)
        fields.done()
        return wish

    def tokenize(self, body: Mapping[str, Any]) -> str:
        """/tokenize: {"text": ...}"""
        fields = Fields(body)
        found = fields.take("text", text, None)
        fields.done()
        if found is None:
            raise wrong("text", "a text, a string", None)
        return found

    def detokenize(self, body: Mapping[str, Any]) -> list[int]:
        """/detokenize: {"tokens": [...]}"""
        fields = Fields(body)
        found = fields.take("tokens", ids(self.tokenizer.n_vocab), None)
        fields.done()
        if found is None:
            raise wrong("tokens", "a list of token ids", None)
        return found

    # ---- their parts

    def _model(self, fields: Fields) -> None:
        name = fields.take("model", text, self.name)
        if name != self.name:
            raise Refused(404, f"model: expected {self.name}, the one that is served here, got {shown(name)}", "model",
                          "model_not_found")

    def _tokens(self, name: str, value: Any) -> int:
        return whole(1, self.limits.tokens)(name, value)

    def _prompts(self, name: str, value: Any) -> list[str | list[int]]:
        """A text, several, a list of ids, or several."""
        tokens = ids(self.model.n_vocab)
        if isinstance(value, str):
            return [value]
        if isinstance(value, list) and value:
            if all(isinstance(one, str) for one in value):
                return list(value)
            if all(isinstance(one, list) for one in value):
                return [tokens(name, one) for one in value]
            if not any(isinstance(one, (str, list)) for one in value):
                return [tokens(name, value)]
        raise wrong(name, "a text, a list of texts, a list of token ids, or a list of such lists", value)

    def _sampler(self, fields: Fields, usual: Mapping[str, Any], forbidden: list[list[int]]) -> Sampler:
        rules: dict[str, Any] = {}
        for name, otherwise in usual.items():
            check = flag if isinstance(otherwise, bool) else \
                whole(1, self.model.n_vocab) if name == "top_k" else whole(0, self.limits.tokens) \
                if name == "min_new_tokens" else number
            rules[name] = fields.take(name, check, otherwise)           # type: ignore[operator]
        bias = fields.take("logit_bias", biases(self.model.n_vocab), None) or {}
        try:
            sampler = Sampler(**rules, logit_bias=bias, forbidden=forbidden, end_of_text=self.tokenizer.end_of_text)
            sampler.filter(np.zeros(self.model.n_vocab), [], [])        # what it cannot do is said before all else
        except Gpt2npError as error:
            name = str(error).partition(":")[0]
            raise Refused(400, str(error), name if name in (*usual, "logit_bias") else None, "wrong_value") from None
        return sampler

    def _wish(self, fields: Fields, given: Sequence[str | list[int]], n: int, most: int, sampler: Sampler,
              logprobs: int | None = None, echo: bool = False, usage: bool = False) -> Wish:
        stop = list(fields.take("stop", texts, ()))
        seed = fields.take("seed", whole(0), None)
        stream = fields.take("stream", flag, False)
        if len(given) * n > self.limits.choices:
            raise Refused(400, f"expected at most {self.limits.choices} texts of one request, got {len(given) * n:,}: "
                               f"{len(given):,} prompts, {n:,} for each", code="too_many_texts")
        if sampler.min_new_tokens > most:
            raise wrong("min_new_tokens", f"at most the {most} of the most tokens", sampler.min_new_tokens)
        prompts = [self._tokens_of(prompt) for prompt in given]
        seed = int(np.random.default_rng().integers(2**32)) if seed is None else seed
        return Wish(prompts, [prompt if isinstance(prompt, str) else self.tokenizer.decode(prompt) for prompt in given],
                    n, most, sampler, stop, seed, stream, logprobs, echo, usage)

    def _tokens_of(self, prompt: str | list[int]) -> list[int]:
        if isinstance(prompt, str) and len(prompt.encode()) > self.most_bytes:      # not worth the time to encode it
            raise Refused(400, f"prompt: expected at most the {self.model.n_ctx} tokens that the model can see, got "
                               f"{len(prompt):,} characters; shorten it, or keep its end", "prompt",
                          "context_length_exceeded")
        try:
            tokens = self.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
            return check_prompt(tokens or [end_of(self.tokenizer)], self.model)
        except Gpt2npError as error:
            too_long = isinstance(prompt, list) or len(prompt) >= self.model.n_ctx
            raise Refused(400, str(error), "prompt",
                          "context_length_exceeded" if too_long else "wrong_value") from None


def an_object(name: str, value: Any) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise wrong(name, "an object", value)
    return value
