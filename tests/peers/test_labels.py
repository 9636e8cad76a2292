"""Reports of labels against seqeval and scikit-learn, on tags drawn at random: `make test-peers` installs them."""

import numpy as np
import pytest

from gpt2np.text.label_reports import accuracy, entity_report, label_report, token_reports
from gpt2np.text.labels import SCHEMES, converted, entities_of, strict_entities_of, tags_of
from tests.text.test_label_reports import rows_of
from tests.text.test_labels import drawn_entities, drawn_tags

for package in ("seqeval", "sklearn"):
    pytest.importorskip(package, reason=f"needs the package {package}: make test-peers installs it")
pytestmark = pytest.mark.filterwarnings("ignore")               # that nothing was predicted of a type, and so on


@pytest.mark.parametrize("seed", range(100))
def test_reports_are_the_same(seed):
    from tests.golden.make_labels import KINDS, drawn, theirs
    for kind in KINDS:
        gold, found = drawn(np.random.default_rng([seed, 1]), kind)
        expected = theirs(gold, found)
        ours = {"entities": entity_report(gold, found), "strict": entity_report(gold, found, strict=True),
                **token_reports(gold, found)}
        for name, report in ours.items():
            for row, other in zip(rows_of(report), expected[name], strict=True):
                assert (row[0], row[4]) == (other[0], other[4])
                assert row[1:4] == pytest.approx([score or 0.0 for score in other[1:4]], rel=0, abs=1e-12)
        assert accuracy(gold, found) == pytest.approx(expected["accuracy"], rel=0, abs=1e-12)


def test_a_report_of_classes_is_the_same():
    from sklearn.metrics import classification_report
    rng = np.random.default_rng(0)
    for n in (1, 2, 5, 40, 200):
        gold, found = ([str(label) for label in rng.choice(["财经", "体育", "a", "b", "B-C"], n)] for _ in range(2))
        theirs = classification_report(gold, found, output_dict=True, zero_division=0)
        report = label_report(gold, found)
        assert report.micro.f1 == pytest.approx(theirs.pop("accuracy"), rel=0, abs=1e-12)
        for name, row in {**report.rows, "macro avg": report.macro, "weighted avg": report.weighted}.items():
            assert row == pytest.approx(tuple(theirs.pop(name).values()), rel=0, abs=1e-12)
        assert not theirs


@pytest.mark.parametrize("scheme", SCHEMES)
def test_names_are_the_same(scheme):
    """Of broken tags those of conlleval's rule and, but for IOB1, the strict ones; of right ones all."""
    from seqeval.metrics.sequence_labeling import get_entities
    from seqeval.scheme import IOB1, IOB2, IOBES, Tokens
    theirs = {"BIO": IOB2, "IOB1": IOB1, "BIOES": IOBES}[scheme]
    rng = np.random.default_rng(0)
    for _ in range(500):
        tags, right = drawn_tags(rng, scheme), tags_of(*drawn_entities(rng), scheme)
        assert entities_of(tags) == [(name, start, end + 1) for name, start, end in get_entities(tags)]
        for some in (right, *([tags] if scheme != "IOB1" else converted([tags], scheme, scheme)[0])):
            assert strict_entities_of(some, scheme) == [
                (entity.tag, entity.start, entity.end) for entity in Tokens(some, theirs).entities]
