"""One HTML page about a run: tokens, attention, what each layer would say, what each part contributed.

Everything on it is worked out here, by lens.py, and lies in the page as JSON; page.html draws it, with a script of its
own, and fetches nothing.

Chapter: S000 8.3.
"""

import base64
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..decoding import BeamRules, best_translations
from ..decoding.translating import source_of
from ..hints import Array
from ..layers.paths import fits
from ..layers.softmax import softmax_forward
from ..models.bert import BERT, BertForPreTraining
from ..models.gpt2 import GPT2
from ..models.transformer import Transformer
from ..page import html_page
from ..text.protocol import AnyTokenizer, characters_of, end_of, is_text
from ..text.wordpiece import WordPiece
from .lens import attribution_of, expect_all_heads, lens_of, logit_difference, maps_of, norms_of, patching, recorded
from .taps import InterpretError, Recording

BEAMS = 4                               # of a translation, as gpt2np.translate has
EXPECTED, OF_A_LAYER = 8, 3             # likeliest tokens that are listed: of the model, of a layer
Progress = Callable[[int, int], None]


def page(data: dict[str, Any]) -> str:
    """The page with its data in it."""
    body = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    inside = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")    # no </script>
    return html_page(data["title"], body.replace("{{data}}", inside, 1))


def look(model: GPT2, tokenizer: AnyTokenizer, text: str, against: str | None = None,
         progress: Progress = lambda done, of: None) -> dict[str, Any]:
    """What the page of a GPT-2 shows of a text.

    against    another text of as many tokens: what of the first, put into its run, brings the first one's answer back
    """
    expect_all_heads(model)
    ids = tokenizer.encode(text)
    if not 1 <= len(ids) <= model.n_ctx:
        raise InterpretError(f"the text: expected from 1 to {model.n_ctx:,} tokens, which the model sees at once, got "
                             f"{len(ids):,}")
    seen, logits = recorded(model, [ids])
    p, _ = softmax_forward(logits[0].astype(np.float64))
    names = [spelled(tokenizer, i) for i in ids]
    top = likeliest(p, EXPECTED)
    data: dict[str, Any] = {
        "title": text, "characters": characters(tokenizer, ids),
        "tokens": [{"text": names[t], "id": ids[t], "surprise": bits(p[t - 1, ids[t]]) if t else None,
                    "entropy": entropy(p[t]),
                    "next": listed(tokenizer, p[t], top[t])} for t in range(len(ids))],
        "groups": [group("h.*.attn", list(maps_of(model, seen).values()), names, names, causal=True)],
        "lens": [[listed(tokenizer, row, best) for row, best in zip(layer, likeliest(layer, OF_A_LAYER))]
                 for layer in (softmax_forward(rows[0].astype(np.float64))[0] for rows in lens_of(model, seen))],
        "parts": parts(model, seen, logits, top),
    }
    norms = norms_of(model, seen)
    data["norms"] = {"names": list(norms), "values": [rounded(row[0]) for row in norms.values()]}
    if against is not None:
        data["patch"] = patch(model, tokenizer, ids, against, logits, progress)
    return data


def look_translation(model: Transformer, tokenizer: AnyTokenizer, text: str) -> dict[str, Any]:
    """What the page of a Transformer shows of a text: its translation, and what it looked at to write each token.

    A row of the decoder's maps is the token that was written from there; its columns are what it could see, the target
    from the token that begins it.  The rows of the encoder's are the source's.
    """
    source = tokenizer.encode(text)
    most = model.n_ctx - model.source_end
    if not 1 <= len(source) <= most:
        raise InterpretError(f"the text: expected from 1 to {most:,} tokens, which the encoder sees at once, got "
                             f"{len(source):,}")
    source, begin = source_of(model, tokenizer, text), end_of(tokenizer)
    found = best_translations(model, tokenizer, [text], BeamRules(BEAMS))[0]
    if not found:
        raise InterpretError("the text: expected at least one word, got white space")
    written, wrote = found[0].written, found[0].text
    tokens = [begin, *written[:-1]]                     # what the decoder has read where it says each of `written`
    seen, logits = recorded(model, [source], None, [tokens])
    p, _ = softmax_forward(logits[0].astype(np.float64))
    top = likeliest(p, EXPECTED)
    of_source, of_written, of_tokens = ([spelled(tokenizer, i) for i in ids] for ids in (source, written, tokens))
    maps = maps_of(model, seen)
    kinds = {"encoder.*.attn": (of_source, of_source), "decoder.*.attn": (of_written, of_tokens),
             "decoder.*.cross_attn": (of_written, of_source)}
    groups = [group(kind, [p for path, p in maps.items() if fits(kind, path)], rows, columns,
                    causal=kind == "decoder.*.attn") for kind, (rows, columns) in kinds.items()]
    looked = [p for path, p in maps.items() if fits("decoder.*.cross_attn", path)][-1]
    norms = {name: x for name, x in norms_of(model, seen).items() if name.startswith("decoder.")}
    return {
        "title": text, "written": wrote, "characters": characters(tokenizer, written),
        "tokens": [{"text": of_written[t], "id": written[t], "surprise": bits(p[t, written[t]]),
                    "entropy": entropy(p[t]), "next": listed(tokenizer, p[t], top[t])} for t in range(len(written))],
        "source": {"characters": characters(tokenizer, source), "tokens": of_source,
                   "looked": [rounded(row) for row in looked[0].mean(axis=0)]},     # as Transformer.looked_at
        "groups": groups[::-1],
        "norms": {"names": list(norms), "values": [rounded(row[0]) for row in norms.values()]},
    }


def look_maps(model: BERT | BertForPreTraining, tokenizer: WordPiece, text: str) -> dict[str, Any]:
    """What the page of a BERT shows of a text: where each head looks."""
    ids = tokenizer.encode_pair(text).ids
    n_ctx = (model.bert if isinstance(model, BertForPreTraining) else model).config.n_ctx
    if not 3 <= len(ids) <= n_ctx:
        raise InterpretError(f"the text: expected from 3 to {n_ctx:,} tokens, [CLS] and [SEP] among them, got "
                             f"{len(ids):,}")
    names = [tokenizer.pieces[i] for i in ids]          # ##s for the second piece of lords
    maps = maps_of(model, recorded(model, [ids])[0])
    return {"title": text, "characters": [{"text": name, "tokens": [t]} for t, name in enumerate(names)],
            "tokens": [{"text": name, "id": i} for name, i in zip(names, ids)],
            "groups": [group("h.*.attn", list(maps.values()), names, names, causal=False)]}


def parts(model: GPT2, seen: Recording, logits: Array, top: Array) -> dict[str, Any]:
    """For each position: what each part contributed to the likeliest token's logit beyond the second one's.

    Both numbers are told, what the parts sum to and the difference of the logits: in float32 their last digits differ.
    """
    found = [attribution_of(model, seen, t, int(best[0]), int(best[1])) for t, best in enumerate(top)]
    return {"names": list(found[0]), "values": [rounded(list(one.values())) for one in found],
            "sums": rounded([sum(one.values()) for one in found], 7),
            "wholes": rounded([logits[0, t, best[0]] - logits[0, t, best[1]] for t, best in enumerate(top)], 7)}


def patch(model: GPT2, tokenizer: AnyTokenizer, ids: Sequence[int], against: str, logits: Array,
          progress: Progress) -> dict[str, Any]:
    """The grid of patching, 1 where the answer of the first text is back, 0 where nothing has changed.

    logits   (1, T, V) of the first text
    """
    others = tokenizer.encode(against)
    if len(others) != len(ids):
        raise InterpretError(f"--against: expected as many tokens as the text has, {len(ids)}, got {len(others)}: the "
                             "texts are laid side by side token by token, and python -m gpt2np.text shows them")
    dirty, _ = model.forward([others], keep_cache=False)
    answer = int(np.argmax(logits[0, -1]))
    rival = int(np.argsort(-dirty[0, -1])[int(np.argmax(dirty[0, -1]) == answer)])      # the other text's answer
    metric = logit_difference(-1, answer, rival)
    clean, base, rows = metric(logits)[0], metric(dirty)[0], []
    for i in range(len(model.h)):
        progress(i, len(model.h))
        rows.append(patching(model, ids, others, metric, [f"h.{i}"])[0])
    progress(len(model.h), len(model.h))
    scale = clean - base or math.nan
    return {"text": against, "token": spelled(tokenizer, answer), "against": spelled(tokenizer, rival),
            "values": [rounded(np.nan_to_num((row - base) / scale)) for row in rows]}


def group(name: str, layers: Sequence[Array], rows: Sequence[str], columns: Sequence[str],
          causal: bool) -> dict[str, Any]:
    """The weights of all heads, p (1, H, T, S) of each layer, as a byte each: 255 sqrt(p), of keys that can be seen."""
    p = np.stack([layer[0] for layer in layers])
    T, S = p.shape[2:]
    visible = np.tri(T, S, S - T, dtype=bool) if causal else np.ones((T, S), bool)
    packed = np.rint(255 * np.sqrt(p[:, :, visible])).astype(np.uint8)
    return {"name": name, "layers": len(layers), "heads": p.shape[1], "rows": list(rows), "columns": list(columns),
            "causal": causal, "data": base64.b64encode(packed.tobytes()).decode()}


# ---- tokens and numbers as they are shown

def spelled(tokenizer: AnyTokenizer, i: int) -> str:
    """A token as text; a part of a character by its bytes."""
    data = tokenizer.decode_bytes([i])
    return data.decode() if is_text(data) else f"<{data.hex(' ')}>"


def characters(tokenizer: AnyTokenizer, ids: Sequence[int]) -> list[dict[str, Any]]:
    """What stands over the tokens: the character that they are together, or nothing."""
    return [{"text": data.decode() if is_text(data) else "", "tokens": places}
            for data, places in characters_of(tokenizer, ids)]


def likeliest(p: Array, n: int) -> Array:
    """p (T, V) -> the ids of the n likeliest tokens of each row, the likeliest first."""
    n = min(n, p.shape[-1])
    some = np.argpartition(-p, n - 1, axis=-1)[:, :n]
    return np.take_along_axis(some, np.argsort(-np.take_along_axis(p, some, -1), axis=-1, kind="stable"), -1)


def listed(tokenizer: AnyTokenizer, p: Array, ids: ArrayLike) -> list[tuple[str, float]]:
    return [(spelled(tokenizer, int(i)), round(float(p[i]), 4)) for i in np.asarray(ids)]


def bits(p: float) -> float:
    return round(-math.log2(max(float(p), 1e-300)), 2)


def entropy(p: Array) -> float:
    return round(float(-(p * np.log2(p + 1e-300)).sum()), 2)


def rounded(values: ArrayLike, n: int = 4) -> list[float]:
    """The numbers with n digits."""
    return [float(f"{x:.{n}g}") for x in np.asarray(values, dtype=np.float64)]
