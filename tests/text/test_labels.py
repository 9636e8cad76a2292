"""Names as tags: every scheme writes what it read, what is broken is counted, and what is malformed is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2np.text.labels import (
    SCHEMES,
    Entity,
    LabelError,
    check_tags,
    converted,
    entities_of,
    strict_entities_of,
    tags_of,
)

# "Alex Ma flew to New York Paris": two places side by side, the second of one word.
ENTITIES = [Entity("PER", 0, 2), Entity("LOC", 4, 6), Entity("LOC", 6, 7)]
WRITTEN = {"BIO": "B-PER I-PER O O B-LOC I-LOC B-LOC", "IOB1": "I-PER I-PER O O I-LOC I-LOC B-LOC",
           "BIOES": "B-PER E-PER O O B-LOC E-LOC S-LOC"}
every_scheme = pytest.mark.parametrize("scheme", SCHEMES)
seeds = st.integers(0, 2**32)


def drawn_entities(rng):
    """The names of a sentence, often side by side, and the number of its words."""
    entities, n = [], 0
    for _ in range(rng.integers(0, 6)):
        start = n + rng.choice([0, 0, 1, 3])
        n = start + rng.choice([1, 1, 2, 4])
        entities.append(Entity(str(rng.choice(["LOC", "PER", "geo-loc", "人名"])), int(start), int(n)))
    return entities, int(n + rng.integers(0, 3))


def drawn_tags(rng, scheme):
    """Tags without rule or reason."""
    return [str(rng.choice(["O", *(f"{letter}-{each}" for letter in SCHEMES[scheme] for each in ("LOC", "PER"))]))
            for _ in range(rng.integers(0, 12))]


# ---- schemes

@every_scheme
def test_the_example_of_each_scheme(scheme):
    tags = WRITTEN[scheme].split()
    assert entities_of(tags) == strict_entities_of(tags, scheme) == ENTITIES
    assert tags_of(ENTITIES, 7, scheme) == tags
    for to in SCHEMES:
        assert converted([tags, []], scheme, to) == ([WRITTEN[to].split(), []], 0)


@every_scheme
@given(seed=seeds)
def test_what_is_written_is_read_again(scheme, seed):
    entities, n = drawn_entities(np.random.default_rng(seed))
    tags = tags_of(entities, n, scheme)
    assert len(tags) == n
    assert entities_of(tags) == strict_entities_of(tags, scheme) == entities
    check_tags([tags], scheme)


@every_scheme
@given(seed=seeds)
def test_broken_tags_are_repaired_once_and_keep_their_names(scheme, seed):
    tags = drawn_tags(np.random.default_rng(seed), scheme)
    [repaired], broken = converted([tags], scheme, scheme)
    assert entities_of(repaired) == strict_entities_of(repaired, scheme) == entities_of(tags)
    assert broken == sum(a != b for a, b in zip(tags, repaired))
    assert converted([repaired], scheme, scheme) == ([repaired], 0)
    for to in SCHEMES:
        [other], count = converted([tags], scheme, to)
        assert count == broken and entities_of(other) == entities_of(tags)
        assert converted([other], to, scheme) == ([repaired], 0)


@every_scheme
@given(seed=seeds)
def test_every_word_that_is_not_o_is_in_one_name(scheme, seed):
    """Names come in order and do not overlap; they have one type; and the strict ones are some of them."""
    tags = drawn_tags(np.random.default_rng(seed), scheme)
    entities = entities_of(tags)
    inside = [i for _, start, end in entities for i in range(start, end)]
    assert inside == [i for i, tag in enumerate(tags) if tag != "O"]
    assert all(tags[i][2:] == name for name, start, end in entities for i in range(start, end))
    assert set(strict_entities_of(tags, scheme)) <= set(entities)


@pytest.mark.parametrize("scheme, tags, repaired, broken", [
    ("BIO", "O I-PER I-PER O", "O B-PER I-PER O", 1),
    ("BIO", "B-PER I-LOC", "B-PER B-LOC", 1),
    ("BIO", "I-PER I-LOC I-PER", "B-PER B-LOC B-PER", 3),
    ("BIO", "B-PER O I-PER", "B-PER O B-PER", 1),
    ("IOB1", "B-PER I-PER O", "I-PER I-PER O", 1),
    ("IOB1", "I-LOC B-PER", "I-LOC I-PER", 1),
    ("IOB1", "I-PER B-PER B-PER", "I-PER B-PER B-PER", 0),
    ("BIOES", "B-PER O", "S-PER O", 1),
    ("BIOES", "B-PER I-PER I-PER", "B-PER I-PER E-PER", 1),
    ("BIOES", "I-PER E-PER E-PER", "B-PER E-PER S-PER", 2),
    ("BIOES", "S-PER I-PER", "S-PER S-PER", 1),
    ("BIOES", "B-PER S-PER E-PER", "S-PER S-PER S-PER", 2),
])
def test_repairs(scheme, tags, repaired, broken):
    assert converted([tags.split()], scheme, scheme) == ([repaired.split()], broken)


def test_a_file_of_another_scheme_has_many_broken_tags():
    sentences = [WRITTEN["IOB1"].split()] * 10
    assert converted(sentences, "IOB1")[1] == 0
    assert converted(sentences, "BIO")[1] == 20


def test_strict_names_have_no_fault():
    tags = "B-PER I-PER O I-PER I-PER B-LOC I-PER B-LOC".split()
    assert entities_of(tags) == [("PER", 0, 2), ("PER", 3, 5), ("LOC", 5, 6), ("PER", 6, 7), ("LOC", 7, 8)]
    assert strict_entities_of(tags) == [("PER", 0, 2), ("LOC", 5, 6), ("LOC", 7, 8)]


# ---- bad input

@pytest.mark.parametrize("tag", ["", "PER", "B", "B-", "-PER", "b-PER", "X-PER", "B_PER", "BI-PER", "o", "S-PER", None,
                                 3])
def test_malformed_tags_are_named_with_their_place(tag):
    sentences = [["O", "B-PER"], ["B-PER", "I-PER", tag, "O"]]
    for call in (lambda: converted(sentences, "BIO"), lambda: check_tags(sentences, "BIO")):
        with pytest.raises(LabelError) as caught:
            call()
        assert str(caught.value) == (f"sentence 2, word 3: expected O, or B- or I- with a type, as BIO has it, got "
                                     f"{tag!r}")


def test_the_letters_of_bioes():
    check_tags([["S-PER", "E-PER", "B-geo-loc", "I-人名", "O"]], "BIOES")
    with pytest.raises(LabelError, match="expected O, or B-, I-, E- or S- with a type, as BIOES has it, got 'M-PER'"):
        check_tags([["M-PER"]], "BIOES")


def test_an_unknown_scheme():
    for call in (lambda: converted([["O"]], "IOB"), lambda: converted([], "BIO", "IOB"), lambda: tags_of([], 0, "IOB"),
                 lambda: strict_entities_of([], "IOB")):
        with pytest.raises(LabelError) as caught:
            call()
        assert str(caught.value) == "scheme: expected BIO (which is IOB2), IOB1 or BIOES, got 'IOB'"


def test_a_text_is_no_list_of_tags():
    with pytest.raises(LabelError, match="sentence 1: expected a list with the label of each word, got one text"):
        converted(["B-PER O"], "BIO")
