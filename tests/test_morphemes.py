"""The hand-made list of morphs: large enough, well formed, about the corpus, and not without words of one morph."""

import re
from collections import Counter

import pytest

from bow2gpt import corpus

HEADER = "word,morphs\n"


@pytest.fixture
def listed(tmp_path):
    """Read a list of morphs from a text."""

    def read(text: str | bytes) -> dict[str, tuple[str, ...]]:
        path = tmp_path / "morphemes.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return corpus._read_morphemes(path)

    return read


def test_there_are_at_least_200_words_sorted_and_each_once():
    found = list(corpus.morphemes())
    assert len(found) >= 200
    assert found == sorted(set(found))


def test_morphs_join_to_the_word():
    for word, morphs in corpus.morphemes().items():
        assert "".join(morphs) == word
        assert all(morphs)


def test_every_word_occurs_in_the_training_split():
    seen = set(re.findall(r"[^\W\d_]+", corpus.text("train").lower()))
    assert not set(corpus.morphemes()) - seen


def test_words_of_one_morph_are_there_to_punish_cutting_too_much():
    lengths = Counter(map(len, corpus.morphemes().values()))
    assert 0.1 < lengths[1] / lengths.total() < 0.3
    assert lengths[3] + lengths[4] >= 20


def test_rules_of_the_list_hold():
    found = corpus.morphemes()
    assert found["governments"] == ("govern", "ment", "s")
    assert found["unfriendliness"] == ("un", "friend", "li", "ness")
    assert found["nationality"] == ("nation", "al", "ity")
    assert found["planned"] == ("plann", "ed")
    assert found["treaties"] == ("treati", "es")
    assert found["railroad"] == ("rail", "road")
    for trap in ("nation", "mission", "corner", "finger", "bring", "uncle", "receive", "men", "witness"):
        assert found[trap] == (trap,)


def test_the_same_suffix_is_cut_wherever_its_stem_is_listed():
    found = corpus.morphemes()
    for word, morphs in found.items():
        for suffix in ("ness", "ship", "ly", "less"):
            stem = word.removesuffix(suffix)
            if stem != word and stem in found:
                assert morphs[-1] == suffix, word


def test_the_list_is_read_once():
    assert corpus.morphemes() is corpus.morphemes()


def test_a_well_formed_list_is_read(listed):
    assert listed(HEADER + "king,king\nkingdom,king-dom\n") == {"king": ("king",), "kingdom": ("king", "dom")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns none"),
        ("word,parts\nking,king\n", "columns word,parts"),
        (HEADER, "got no words"),
        (HEADER + "king\n", "line 2: got 1 cells"),
        (HEADER + "king,king,noun\n", "line 2: got 3 cells"),
        (HEADER + "King,King\n", "lower-case"),
        (HEADER + ",\n", "lower-case"),
        (HEADER + "kingdom,king--dom\n", "empty morph"),
        (HEADER + "kingdom,kingdom-\n", "empty morph"),
        (HEADER + "kingdom,king-dam\n", "spell 'kingdam', expected 'kingdom'"),
        (HEADER + "king,king\nking,king\n", "line 3: 'king' comes after 'king'"),
        (HEADER + "queen,queen\nking,king\n", "line 3: 'king' comes after 'queen'"),
        (HEADER + '"king,king\n', "line 2"),
        (b"word,morphs\n\xff,\xff\n", "UTF-8"),
    ],
)
def test_a_malformed_list_is_refused(listed, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        listed(text)
