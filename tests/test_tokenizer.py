"""The book's byte-pair encoding equals Hugging Face's `tokenizers`: the same merges, the same ids, the same files."""

import copy
import json
import pickle
import random
import threading
from collections import Counter

import laws
import numpy as np
import pytest
import regex
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as RustTokenizer

from bow2gpt import corpus, tokenizer_json
from bow2gpt.chapters import language_features
from bow2gpt.chapters.language_features import GPT2_PATTERN, Tokenizer, train_bpe

END = "<|endoftext|>"


def rust_tokenizer(texts, vocabulary_size, **settings):
    rust = RustTokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size, initial_alphabet=alphabet, show_progress=False, **settings
    )
    rust.train_from_iterator([texts] if isinstance(texts, str) else texts, trainer)
    return rust


def rust_merges(rust):
    """The library's merges, as bytes."""
    pairs = json.loads(rust.to_str())["model"]["merges"]
    return [tuple(tokenizer_json.token(part) for part in pair) for pair in pairs]


def cuts_of_library(text):
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    return [text[start:end] for _, (start, end) in cut]


def random_texts(seed, alphabet, how_many, longest):
    rng = random.Random(seed)
    return ["".join(rng.choices(alphabet, k=rng.randint(0, longest))) for _ in range(how_many)]


def all_of_unicode(seed, how_many, longest):
    rng = np.random.default_rng(seed)
    for _ in range(how_many):
        text = laws.random_text(rng, int(rng.integers(longest)))
        yield "".join(c for c in text if not newer_than_the_library(c))


def newer_than_the_library(character):
    """Whether `regex` knows a letter or digit that the library, with its older Unicode, does not."""
    known = regex.fullmatch(r"[\p{L}\p{N}]", character) is not None
    return known and cuts_of_library(f"{character}.") == [f"{character}."]


@pytest.fixture(scope="module")
def validation():
    return corpus.text("validation")


@pytest.fixture(scope="module")
def trained():
    return Tokenizer.train(corpus.text("train")[:3_000_000], 8192)


@pytest.fixture(scope="module")
def small(validation):
    return Tokenizer.train(validation[:300_000], 600, special_tokens=[END, "<|end|>"])


# Training


def test_merges_equal_the_library_at_1024(validation):
    assert train_bpe(validation, 1024) == rust_merges(rust_tokenizer(validation, 1024))


def test_merges_equal_the_library_at_8192(trained):
    text = corpus.text("train")[:3_000_000]
    assert trained.merges == rust_merges(rust_tokenizer(text.splitlines(keepends=True), 8192))
    assert trained.vocabulary_size == 8192


@pytest.mark.parametrize(
    "alphabet", ["a", "ab", "ab ", "aA'st", "a1 .\n", "aé東", "\r\n\t a", " \x1c\x85\xa0a", "'dlrsvemt "]
)
def test_merges_and_ids_equal_the_library_on_tiny_alphabets(alphabet):
    for seed in range(12):
        texts = random_texts(seed, alphabet, how_many=6, longest=40)
        size = 256 + random.Random(seed).choice([0, 1, 5, 20, 400])
        rust, ours = rust_tokenizer(texts, size), Tokenizer.train(texts, size)
        assert ours.merges == rust_merges(rust), (seed, texts)
        for text in (*texts, *random_texts(seed + 100, alphabet + "b", 20, 60)):
            assert ours.encode(text).tolist() == rust.encode(text).ids, text


def test_merges_and_ids_equal_the_library_on_all_of_unicode():
    texts = list(all_of_unicode(seed=3, how_many=300, longest=60))
    rust, ours = rust_tokenizer(texts, 900), Tokenizer.train(texts, 900)
    assert ours.merges == rust_merges(rust)
    for text in all_of_unicode(seed=4, how_many=300, longest=60):
        assert ours.encode(text).tolist() == rust.encode(text).ids, text


def test_pattern_cuts_every_character_as_the_library_does_but_for_newer_letters():
    def agree(characters):
        text = "".join(f"a{c}b1{c}2.{c}." for c in characters)
        return regex.findall(GPT2_PATTERN, text) == cuts_of_library(text)

    in_use = [c for c in map(chr, range(0x110000)) if regex.match(r"\P{C}|\p{Cc}|\p{Cf}", c)]
    groups = [in_use[start : start + 40] for start in range(0, len(in_use), 40)]
    differ = [c for group in groups if not agree(group) for c in group if not agree(c)]
    assert [hex(ord(c)) for c in differ if not newer_than_the_library(c)] == []
    assert not set(differ) & set("\x1c\x1d\x1e\x1f\x85\xa0\u180e\u200b\u2028\u3000\ufeff")


def test_chunks_are_cut_where_the_pattern_cuts():
    texts = [*random_texts(5, " \n\t\r\x0b\x1c\x1f\x85\xa0\u2028a1.'s", 3000, 14), *all_of_unicode(6, 300, 30)]
    for text in texts:
        in_chunks = [word for c in language_features._CHUNK.findall(text) for word in regex.findall(GPT2_PATTERN, c)]
        assert in_chunks == regex.findall(GPT2_PATTERN, text), text
        assert "".join(in_chunks) == text


def test_counting_chunks_first_counts_what_the_pattern_cuts():
    for alphabet in (" \n\t\x1c\x85\xa0a1.'s", " \na.'s"):
        for text in random_texts(7, alphabet, 3000, 14):
            expected = Counter(regex.findall(GPT2_PATTERN, text))
            assert language_features._count_pre_tokens([text], GPT2_PATTERN) == expected, text


def test_training_stops_when_no_pair_is_left():
    assert train_bpe("ab ab", 9999) == [(b"a", b"b"), (b" ", b"ab")] == rust_merges(rust_tokenizer("ab ab", 9999))
    assert train_bpe("", 300) == train_bpe([], 300) == []


def test_no_merge_crosses_from_one_text_to_the_next():
    assert train_bpe(["a", "b"] * 9, 300) == []
    assert train_bpe(iter(["ab", "ab"]), 257) == [(b"a", b"b")]


def test_smaller_vocabulary_is_the_same_merges_cut_off(trained):
    text = corpus.text("train")[:100_000]
    assert train_bpe(text, 300) == train_bpe(text, 400)[:44]


def test_line_ends_of_windows_equal_the_library(validation):
    text = validation[:200_000].replace("\n", "\r\n")
    rust, ours = rust_tokenizer(text, 700), Tokenizer.train(text, 700)
    assert ours.merges == rust_merges(rust)
    assert ours.encode(text).tolist() == rust.encode(text).ids


def test_another_pattern_gives_other_borders():
    assert train_bpe("xyz z xyz z xyz z", 258, pattern=r"(?s:.+)") == [(b"z", b" "), (b"x", b"y")]
    assert train_bpe("ab12 ab12", 9999, pattern=r"\d+") == [(b"1", b"2")]


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((b"bytes", 300), TypeError, "must be a str, got int"),
        ((["a", b"b"], 300), TypeError, "must be a str, got bytes"),
        (("a", 255), ValueError, "ask for 256 or more"),
        (("a", 300.0), TypeError, "must be an integer, got 300.0"),
        (("a", True), TypeError, "must be an integer"),
        (("a", "300"), TypeError, "must be an integer, got '300'"),
        (("a\ud800", 300), ValueError, "character 1 of the text"),
        (("a", 300, "(a"), ValueError, "no regular expression"),
        (("a", 300, "(a)|b"), ValueError, r"write \(\?:"),
    ],
)
def test_training_says_what_is_wrong(arguments, error, says):
    with pytest.raises(error, match=says):
        train_bpe(*arguments)


# Encoding and decoding


def test_a_megabyte_gets_the_ids_of_the_library(trained, tmp_path):
    text = corpus.text("test")
    trained.save(tmp_path / "tokenizer.json")
    rust = RustTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    ids = trained.encode(text)
    assert ids.tolist() == rust.encode(text).ids
    assert ids.dtype == np.int64
    assert trained.decode(ids) == rust.decode(ids.tolist()) == text


def test_every_text_comes_back(small):
    rng = np.random.default_rng(1)
    for text in (*laws.TEXTS, *laws.CONTEXTS, *(laws.random_text(rng, int(rng.integers(60))) for _ in range(300))):
        ids = small.encode(text)
        assert small.decode(ids) == text
        assert small.encode(text.encode()).tolist() == ids.tolist()


def test_any_bytes_come_back(small):
    rng = np.random.default_rng(2)
    strange = [b"", b"\x00", b"\xff\xfe", b"\xc3", "é".encode()[::-1], b"\xed\xa0\x80", bytes(range(256))]
    for data in (*strange, *(rng.bytes(int(rng.integers(80))) for _ in range(500))):
        assert small.decode_bytes(small.encode(data)) == data
        assert small.decode(small.encode(data)) == data.decode("utf-8", errors="replace")


def test_a_part_of_a_character_becomes_the_replacement_character(small):
    assert small.decode(small.encode("é".encode()[:1])) == "�"
    assert small.decode([]) == ""
    assert small.encode("").shape == (0,)
    assert small.encode("").dtype == np.int64


def test_ids_come_from_lists_arrays_and_generators(small):
    ids = small.encode("the union")
    assert {small.decode(form) for form in (ids, ids.tolist(), iter(ids), ids.astype(np.uint16), tuple(ids))} == {
        "the union"
    }


@pytest.mark.parametrize(
    ("ids", "error", "says"),
    [
        ([600], ValueError, "id 600, expected one row of ids from 0 to 599"),
        ([-1], ValueError, "id -1"),
        ([1.0], TypeError, "must be integers"),
        (["a"], TypeError, "must be integers"),
        ([[1, 2]], ValueError, r"shape \(1, 2\)"),
    ],
)
def test_decoding_says_what_is_wrong(small, ids, error, says):
    with pytest.raises(error, match=says):
        small.decode(ids)


def test_encoding_refuses_what_is_no_text(small):
    with pytest.raises(
        ValueError, match=r"character 4 of the text is '\\udc80'.*read the text with its right encoding"
    ):
        small.encode("half\udc80")
    with pytest.raises(TypeError, match="must be a str, got NoneType"):
        small.encode(None)


def test_a_word_of_many_letters_equals_the_library(trained, tmp_path):
    trained.save(tmp_path / "tokenizer.json")
    rust = RustTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    rng = random.Random(7)
    for text in (
        "a" * 100_000,
        "".join(rng.choices("etaoinsrh", k=100_000)),
        "the" * 50_000,
        " " * 100_000,
        "é" * 10_000,
    ):
        assert trained.encode(text).tolist() == rust.encode(text).ids


@pytest.mark.parametrize("letters", ["a", "ab", "etaoinsrh"])
def test_work_on_one_word_grows_with_its_length_not_with_the_square(small, letters):
    class Counted(dict):
        looked_up = 0

        def __contains__(self, pair):
            self.looked_up += 1
            return super().__contains__(pair)

        def get(self, pair, default=None):
            self.looked_up += 1
            return super().get(pair, default)

    def looked_up(length):
        table = Counted(small._made_by)
        word = "".join(random.Random(1).choices(letters, k=length)).encode().translate(language_features._ID_OF_BYTE)
        language_features._merge_all(word, table)
        return table.looked_up

    assert looked_up(20_000) < 11 * looked_up(2_000)


def test_merges_of_any_order_are_applied_as_the_library_applies_them(tmp_path):
    for seed in range(30):
        rng = random.Random(seed)
        tokens, merges = [b"a", b"b", b"c"], []
        while len(merges) < 30:
            pair = rng.choice(tokens), rng.choice(tokens)
            if b"".join(pair) not in tokens:
                tokens.append(b"".join(pair))
                merges.append(pair)
        ours = Tokenizer(merges)
        ours.save(tmp_path / "tokenizer.json")
        rust = RustTokenizer.from_file(str(tmp_path / "tokenizer.json"))
        for text in random_texts(seed, "abc", 30, 80):
            assert ours.encode(text).tolist() == rust.encode(text).ids, (merges, text)


def test_memory_of_words_is_bounded_and_changes_nothing(small, monkeypatch):
    monkeypatch.setattr(Tokenizer, "_MEMORY", 500)
    fresh = Tokenizer(small.merges, list(small.special_tokens))
    texts = random_texts(9, "abcde ", 100, 200)
    for text in texts:
        assert fresh.encode(text).tolist() == small.encode(text).tolist()
        assert sum(map(len, fresh._known)) <= 500
    fresh.encode("x" * 10_000)
    assert not fresh._known


def test_threads_share_a_tokenizer(small, validation, monkeypatch):
    monkeypatch.setattr(Tokenizer, "_MEMORY", 2_000)
    shared = Tokenizer(small.merges)
    parts = [validation[start : start + 5_000] for start in range(0, 200_000, 5_000)]
    expected = [Tokenizer(small.merges).encode(part).tolist() for part in parts]
    results = {}

    def work(number):
        results[number] = [shared.encode(part).tolist() for part in parts]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[number] for number in range(4)] == [expected] * 4


# Special tokens


def test_text_cannot_forge_a_special_token(small):
    assert not set(small.encode(f"a{END}b")) & set(small.special_tokens.values())
    assert small.encode(END, allow_special=True).tolist() == [small.special_tokens[END]]
    assert small.decode(small.encode(f"a{END}b", allow_special=True)) == f"a{END}b"


def test_special_tokens_equal_those_of_the_library(tmp_path):
    special = ["<s", "<s>", "<s>>", "[A]", "A]", END, ".*"]
    ours = Tokenizer.train("a <s> b aaaa bbbb" * 9, 280, special_tokens=special)
    ours.save(tmp_path / "tokenizer.json")
    rust = RustTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert ours.special_tokens == {token: rust.token_to_id(token) for token in special}
    pieces = [*special, "<", "s", ">", " ", "a", "[A", "]", "x", "\n", "endoftext", "|"]
    for text in ["".join(random.Random(seed).choices(pieces, k=12)) for seed in range(300)] + ["", END, END * 2]:
        assert ours.encode(text, allow_special=True).tolist() == rust.encode(text).ids, text
        assert ours.encode(text, allow_special=True).dtype == np.int64


def test_size_counts_special_tokens_and_they_are_last(small):
    assert small.vocabulary_size == len(small.vocabulary) == len(small.names()) == 600
    assert small.special_tokens == {END: 598, "<|end|>": 599}
    assert len(small.merges) == 600 - 256 - 2
    assert small.merges == rust_merges(
        rust_tokenizer(corpus.text("validation")[:300_000], 600, special_tokens=[END, "<|end|>"])
    )


@pytest.mark.parametrize(
    ("special", "error", "says"),
    [
        (END, TypeError, "put it in brackets"),
        ([1], TypeError, "must be a str, got int"),
        ([""], ValueError, "printable and without white space"),
        (["a b"], ValueError, "printable and without white space"),
        (["\ud800"], ValueError, "printable"),
        ([END, END], ValueError, "two tokens"),
        (["a"], ValueError, "two tokens 'a'"),
    ],
)
def test_special_tokens_that_could_be_mistaken_are_refused(special, error, says):
    with pytest.raises(error, match=says):
        Tokenizer([], special)


def test_tokenizer_says_what_is_wrong():
    with pytest.raises(ValueError, match="merge 0.*no earlier merge makes"):
        Tokenizer([(b"ab", b"c")])
    with pytest.raises(ValueError, match="merge 2.*there already"):
        Tokenizer([(b"a", b"b"), (b"b", b"c"), (b"a", b"b")])
    with pytest.raises(ValueError, match="1 special tokens need 257 or more"):
        Tokenizer.train("a", 256, [END])


# Names, equality, pickling


def test_names_are_printable_unique_and_without_white_space(trained, small):
    for tokenizer in (trained, small, Tokenizer([])):
        names = tokenizer.names()
        assert len(set(names)) == len(names) == tokenizer.vocabulary_size
        assert all(name.isprintable() and not regex.search(r"\s", name) for name in names)
    assert trained.names()[:256] == sorted(pre_tokenizers.ByteLevel.alphabet())


def test_equal_tokenizers_are_equal_also_after_a_copy(small):
    small.encode("something to remember")
    for twin in (pickle.loads(pickle.dumps(small)), copy.deepcopy(small), Tokenizer(small.merges, [END, "<|end|>"])):
        assert twin == small
        assert hash(twin) == hash(small)
        assert twin.encode(f"the union{END}").tolist() == small.encode(f"the union{END}").tolist()
    assert not pickle.loads(pickle.dumps(small))._known
    assert small != Tokenizer(small.merges)
    assert small != Tokenizer(small.merges[:1], [END, "<|end|>"])
    assert small != "a tokenizer"
    assert repr(small) == "Tokenizer(342 merges, special_tokens=['<|endoftext|>', '<|end|>'])"


# Files


def test_file_is_what_the_library_writes(validation, tmp_path):
    rust = rust_tokenizer(validation[:100_000], 500)
    rust.add_special_tokens([END])
    Tokenizer.train(validation[:100_000], 501, [END]).save(tmp_path / "tokenizer.json")
    content = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    expected = json.loads(rust.to_str())
    expected["model"]["vocab"].pop(END, None)
    assert content == expected
    assert list(tmp_path.iterdir()) == [tmp_path / "tokenizer.json"]


def test_saved_and_loaded_is_the_same(small, tmp_path):
    small.save(tmp_path / "new folder" / "tokenizer.json")
    assert Tokenizer.load(str(tmp_path / "new folder" / "tokenizer.json")) == small


def test_old_and_new_files_of_the_library_are_read(validation, tmp_path):
    rust = rust_tokenizer(validation[:100_000], 500)
    rust.add_special_tokens([END, "<|a|>"])
    rust.post_processor = processors.ByteLevel(trim_offsets=False)
    path = tmp_path / "tokenizer.json"
    rust.save(str(path))
    ours = Tokenizer.load(path)
    assert ours.merges == rust_merges(rust)
    assert ours.encode(f"the union{END}", allow_special=True).tolist() == rust.encode(f"the union{END}").ids
    content = json.loads(path.read_text(encoding="utf-8"))
    content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    del content["model"]["type"], content["pre_tokenizer"]["use_regex"], content["model"]["ignore_merges"]
    content["model"]["continuing_subword_prefix"] = ""
    content["model"]["vocab"] |= {
        token["content"]: token["id"] for token in content["added_tokens"]
    }  # as GPT-2's file has it
    path.write_text(json.dumps(content), encoding="utf-8")
    assert Tokenizer.load(path) == ours


def rust_with(**settings):
    rust = rust_tokenizer("the union of the people " * 9, 270)
    for name, value in settings.items():
        setattr(rust, name, value)
    return rust


def rust_of(model):
    rust = RustTokenizer(model)
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return rust


def rust_adding(token):
    rust = rust_with()
    rust.add_tokens([token])
    return rust


def rust_truncating():
    rust = rust_with()
    rust.enable_truncation(5)
    return rust


def rust_padding():
    rust = rust_with()
    rust.enable_padding()
    return rust


def foreign_files():
    template = processors.TemplateProcessing(single="a $A", special_tokens=[("a", 64)])
    split = pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    ascii_only = RustTokenizer(models.BPE())
    ascii_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ascii_only.train_from_iterator(["the union"], trainers.BpeTrainer(vocab_size=30, show_progress=False))
    return {
        "its model is WordLevel": rust_of(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>")),
        "its model is Unigram": rust_of(models.Unigram([("a", 0.0)])),
        "has a dropout": rust_of(models.BPE(vocab={"a": 0}, merges=[], dropout=0.1)),
        "has a unk_token": rust_of(models.BPE(vocab={"a": 0}, merges=[], unk_token="a")),
        "byte_fallback": rust_of(models.BPE(vocab={"a": 0}, merges=[], byte_fallback=True)),
        "ignore_merges": rust_of(models.BPE(vocab={"a": 0}, merges=[], ignore_merges=True)),
        "end_of_word_suffix": rust_of(models.BPE(vocab={"a": 0}, merges=[], end_of_word_suffix="</w>")),
        "adds a space before": rust_with(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)),
        "does not use GPT-2's pattern": rust_with(pre_tokenizer=pre_tokenizers.ByteLevel(False, use_regex=False)),
        "its pre-tokenizer is Sequence": rust_with(pre_tokenizer=split),
        "its pre-tokenizer is Metaspace": rust_with(pre_tokenizer=pre_tokenizers.Metaspace()),
        "it has a normalizer": rust_with(normalizer=normalizers.NFC()),
        "its post-processor adds tokens": rust_with(post_processor=template),
        "it has a truncation": rust_truncating(),
        "it has a padding": rust_padding(),
        "an added token is not special": rust_adding("<plain>"),
        "takes neighbouring": rust_adding(AddedToken("<strip>", special=True, lstrip=True)),
        "not in GPT-2's order: the 256 bytes": ascii_only,
        "add special tokens after training": rust_tokenizer("the union", 260, special_tokens=[END]),
    }


@pytest.mark.parametrize("says", foreign_files())
def test_files_of_another_kind_are_refused_with_the_reason(says, tmp_path):
    path = tmp_path / "tokenizer.json"
    foreign_files()[says].save(str(path))
    with pytest.raises(ValueError, match=regex.escape(says)) as caught:
        Tokenizer.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        "null",
        '{"model": 3, "pre_tokenizer": {}}',
        '{"model": {}, "pre_tokenizer": null}',
        b"\xff",
        "[1]",
    ],
)
def test_broken_files_are_refused(content, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match="tokenizer.json"):
        Tokenizer.load(path)


def test_damage_inside_a_file_is_refused(small, tmp_path):
    path = tmp_path / "tokenizer.json"
    small.save(path)
    whole = json.loads(path.read_text(encoding="utf-8"))

    def damaged(change):
        content = copy.deepcopy(whole)
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(ValueError, match="tokenizer.json"):
            Tokenizer.load(path)

    damaged(lambda content: content["model"]["merges"].pop(5))
    damaged(lambda content: content["model"]["merges"].reverse())
    damaged(lambda content: content["model"]["merges"].insert(0, ["a"]))
    damaged(lambda content: content["model"]["merges"].insert(0, ["東", "a"]))
    damaged(lambda content: content["model"]["vocab"].pop("a"))
    damaged(lambda content: content["model"].pop("merges"))
    damaged(lambda content: content.pop("pre_tokenizer"))
    damaged(lambda content: content["added_tokens"][0].update(id=3))
    damaged(lambda content: content["added_tokens"].pop(0))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere.json cannot be read .*check the path"):
        Tokenizer.load(tmp_path / "nowhere.json")


def test_an_interrupted_save_leaves_the_old_file(small, tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    small.save(path)
    before = path.read_bytes()
    monkeypatch.setattr(tokenizer_json.json, "dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Tokenizer([]).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
