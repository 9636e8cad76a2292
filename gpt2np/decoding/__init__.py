"""Let a model write: run it, choose the next token, add it to the text, and again.

    for token in generate(model, tokens, 100, Sampler(temperature=0.8, top_p=0.9), np.random.default_rng(1)):
        ...

    loop           one token after another, of one text or of several at once
    beams          the likeliest text as a whole
    speculation    several tokens for one run of the model, by guesses that it checks
    text_to_text   the same from text to text
    translating    from texts to their translations, by a Transformer
    texts          what all of them stand on: texts that grow, and the model's past of them
    prefill        a long prompt on all cores
    together       texts that share a batch, and come and go between two tokens
    shared_cache   the past of these texts, in one array
    layout         weights that lie in memory as decoding reads them

The model is any LanguageModel (models/protocols.py).  It keeps what it needs of the tokens so far, such as their keys
and values (blocks/kv_cache.py), so a step runs it on the new token alone.
"""

from .beams import Beam, BeamRules, beam_search, beam_search_batch
from .layout import lay_out_for_decoding
from .loop import GREEDY, SAMPLE, Stop, columns, generate, generate_batch
from .prefill import prefill
from .speculation import Draft, ModelDraft, NgramDraft, speculate
from .text_to_text import generate_text
from .texts import Texts, window_start
from .together import Text, Together
from .translating import Translated, best_translations, translate

__all__ = ["GREEDY", "SAMPLE", "Beam", "BeamRules", "Draft", "ModelDraft", "NgramDraft", "Stop", "Text", "Texts",
           "Together", "Translated", "beam_search", "beam_search_batch", "best_translations", "columns", "generate",
           "generate_batch", "generate_text", "lay_out_for_decoding", "prefill", "speculate", "translate",
           "window_start"]
