"""Minimal pairs that ask a language model, one feature of language at a time: which of these two is likelier?

The two halves of a pair differ in one thing only, and one of them is right English. A model that has learned that
thing finds the right half likelier (Linzen et al., 2016; Marvin & Linzen, 2018). Most pairs are crossed: the word that
is wrong here is the right one in another pair, so that knowing which words are frequent is worth no more than a coin.

But: a pair shows what a model prefers, not why. A short phrase seen in training can settle it as well as a rule can.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from bow2gpt import ruler

#: The features of language, in the order of chapter 01.
FEATURES = ("phonetics", "morphology", "syntax", "semantics", "pragmatics")

#: What every half is scored after: the end of a paragraph, so that it begins a new one, as sentences of the corpus do.
CONTEXT = "\n\n"

#: What the short names in the column `source` stand for: where the phenomenon was first described or made a test.
REFERENCES = {
    "Anscombe 1964": "G. E. M. Anscombe. Before and After. Philosophical Review 73, 1964",
    "Aronoff 1976": "Mark Aronoff. Word Formation in Generative Grammar. MIT Press, 1976",
    "Bar-Hillel 1954": "Yehoshua Bar-Hillel. Indexical Expressions. Mind 63, 1954",
    "Barwise & Cooper 1981": "Jon Barwise and Robin Cooper. Generalized Quantifiers and Natural Language. "
    "Linguistics and Philosophy 4, 1981",
    "Berko 1958": "Jean Berko. The Child's Learning of English Morphology. Word 14, 1958",
    "Blakemore 1987": "Diane Blakemore. Semantic Constraints on Relevance. Blackwell, 1987",
    "Bybee & Slobin 1982": "Joan L. Bybee and Dan I. Slobin. Rules and Schemas in the Development and Use of the "
    "English Past Tense. Language 58, 1982",
    "Chomsky & Halle 1968": "Noam Chomsky and Morris Halle. The Sound Pattern of English. Harper & Row, 1968",
    "Chomsky 1957": "Noam Chomsky. Syntactic Structures. Mouton, 1957",
    "Chomsky 1965": "Noam Chomsky. Aspects of the Theory of Syntax. MIT Press, 1965",
    "Chomsky 1970": "Noam Chomsky. Remarks on Nominalization. In Readings in English Transformational Grammar, 1970",
    "Chomsky 1981": "Noam Chomsky. Lectures on Government and Binding. Foris, 1981",
    "Clark & Marshall 1981": "Herbert H. Clark and Catherine R. Marshall. Definite Reference and Mutual Knowledge. "
    "In Elements of Discourse Understanding. Cambridge University Press, 1981",
    "Clark 1975": "Herbert H. Clark. Bridging. In Theoretical Issues in Natural Language Processing, 1975",
    "Cooper & Ross 1975": "William E. Cooper and John Robert Ross. World Order. In Papers from the Parasession on "
    "Functionalism. Chicago Linguistic Society, 1975",
    "Cresswell 1976": "M. J. Cresswell. The Semantics of Degree. In Montague Grammar. Academic Press, 1976",
    "Cruse 1986": "D. A. Cruse. Lexical Semantics. Cambridge University Press, 1986",
    "Emonds 1970": "Joseph E. Emonds. Root and Structure-Preserving Transformations. Dissertation, MIT, 1970",
    "Fillmore 1968": "Charles J. Fillmore. The Case for Case. In Universals in Linguistic Theory. Holt, Rinehart "
    "and Winston, 1968",
    "Fillmore 1975": "Charles J. Fillmore. Santa Cruz Lectures on Deixis, 1971. Indiana University Linguistics "
    "Club, 1975",
    "Firth 1957": "J. R. Firth. Papers in Linguistics 1934-1951. Oxford University Press, 1957",
    "Gordon 1985": "Peter Gordon. Level-Ordering in Lexical Development. Cognition 21, 1985",
    "Greenberg 1963": "Joseph H. Greenberg. Some Universals of Grammar with Particular Reference to the Order of "
    "Meaningful Elements. In Universals of Language. MIT Press, 1963",
    "Halle 1978": "Morris Halle. Knowledge Unlearned and Untaught: What Speakers Know about the Sounds of Their "
    "Language. In Linguistic Theory and Psychological Reality. MIT Press, 1978",
    "Halliday & Hasan 1976": "M. A. K. Halliday and Ruqaiya Hasan. Cohesion in English. Longman, 1976",
    "Hamblin 1973": "C. L. Hamblin. Questions in Montague English. Foundations of Language 10, 1973",
    "Hearst 1992": "Marti A. Hearst. Automatic Acquisition of Hyponyms from Large Text Corpora. COLING 1992",
    "Heim 1982": "Irene Heim. The Semantics of Definite and Indefinite Noun Phrases. Dissertation, University of "
    "Massachusetts Amherst, 1982",
    "Horn 1972": "Laurence R. Horn. On the Semantic Properties of Logical Operators in English. Dissertation, "
    "University of California, Los Angeles, 1972",
    "Jakobson 1960": "Roman Jakobson. Closing Statement: Linguistics and Poetics. In Style in Language. MIT Press, "
    "1960",
    "Jespersen 1909": "Otto Jespersen. A Modern English Grammar on Historical Principles. Part I: Sounds and "
    "Spellings. Carl Winter, 1909",
    "Karttunen 1971": "Lauri Karttunen. Implicative Verbs. Language 47, 1971",
    "Karttunen 1976": "Lauri Karttunen. Discourse Referents. In Syntax and Semantics 7. Academic Press, 1976",
    "Klima 1964": "Edward S. Klima. Negation in English. In The Structure of Language. Prentice-Hall, 1964",
    "Ladusaw 1979": "William A. Ladusaw. Polarity Sensitivity as Inherent Scope Relations. Dissertation, University "
    "of Texas at Austin, 1979",
    "Levin 1993": "Beth Levin. English Verb Classes and Alternations. University of Chicago Press, 1993",
    "Linzen et al. 2016": "Tal Linzen, Emmanuel Dupoux and Yoav Goldberg. Assessing the Ability of LSTMs to Learn "
    "Syntax-Sensitive Dependencies. TACL 4, 2016",
    "Lyons 1977": "John Lyons. Semantics. Cambridge University Press, 1977",
    "Marchand 1969": "Hans Marchand. The Categories and Types of Present-Day English Word-Formation. 2nd edition, "
    "C. H. Beck, 1969",
    "Marvin & Linzen 2018": "Rebecca Marvin and Tal Linzen. Targeted Syntactic Evaluation of Language Models. "
    "EMNLP, 2018",
    "Pinker & Birdsong 1979": "Steven Pinker and David Birdsong. Speakers' Sensitivity to Rules of Frozen Word "
    "Order. Journal of Verbal Learning and Verbal Behavior 18, 1979",
    "Quirk et al. 1985": "Randolph Quirk, Sidney Greenbaum, Geoffrey Leech and Jan Svartvik. A Comprehensive "
    "Grammar of the English Language. Longman, 1985",
    "Sag et al. 1985": "Ivan A. Sag, Gerald Gazdar, Thomas Wasow and Steven Weisler. Coordination and How to "
    "Distinguish Categories. Natural Language and Linguistic Theory 3, 1985",
    "Schegloff & Sacks 1973": "Emanuel A. Schegloff and Harvey Sacks. Opening Up Closings. Semiotica 8, 1973",
    "Searle 1969": "John R. Searle. Speech Acts. Cambridge University Press, 1969",
    "Stalnaker 1974": "Robert Stalnaker. Pragmatic Presuppositions. In Semantics and Philosophy. New York "
    "University Press, 1974",
    "Vendler 1957": "Zeno Vendler. Verbs and Times. Philosophical Review 66, 1957",
    "Venezky 1970": "Richard L. Venezky. The Structure of English Orthography. Mouton, 1970",
    "Warstadt et al. 2020": "Alex Warstadt et al. BLiMP: The Benchmark of Linguistic Minimal Pairs for English. "
    "TACL 8, 2020",
    "Wilcox et al. 2018": "Ethan Wilcox, Roger Levy, Takashi Morita and Richard Futrell. What Do RNN Language "
    "Models Learn about Filler-Gap Dependencies? BlackboxNLP 2018",
    "Winston et al. 1987": "Morton E. Winston, Roger Chaffin and Douglas Herrmann. A Taxonomy of Part-Whole "
    "Relations. Cognitive Science 11, 1987",
    "Zimmer 1964": "Karl E. Zimmer. Affixal Negation in English and Other Languages. Supplement to Word 20, 1964",
}

_COLUMNS = ["feature", "phenomenon", "better", "worse", "source"]
_Z95 = 1.959963984540054  # the normal distribution leaves 2.5 % beyond it on either side
_TIE = 1e-6  # nats: the same terms added in another order differ by less


@dataclass(frozen=True)
class Pair:
    """One question to a language model.

    Attributes:
        feature: one of `FEATURES`.
        phenomenon: what the two halves differ in.
        better: the half that is right English.
        worse: the half that is not.
        source: who described or first tested the phenomenon, a key of `REFERENCES`.
    """

    feature: str
    phenomenon: str
    better: str
    worse: str
    source: str


@dataclass(frozen=True)
class Score:
    """How often a model preferred the better half.

    Attributes:
        feature: one of `FEATURES`.
        phenomenon: one phenomenon of the feature, or None for all of them together.
        correct: number of pairs whose better half was found likelier; a tie counts half.
        total: number of pairs asked, at least one.

    Raises:
        ValueError: if `total` is below one, or `correct` not between 0 and `total`.
    """

    feature: str
    phenomenon: str | None
    correct: float
    total: int

    def __post_init__(self) -> None:
        if self.total < 1 or not 0 <= self.correct <= self.total:
            raise ValueError(
                f"got {self.correct} correct of {self.total}; expected at least one pair, and none to all correct"
            )

    @property
    def accuracy(self) -> float:
        """The fraction of pairs answered correctly: 0.5 is a coin."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy: never outside 0 to 1, never empty at 0 or 1 (Wilson, 1927, JASA)."""
        p, n, z2 = self.accuracy, self.total, _Z95**2
        middle = (p + z2 / (2 * n)) / (1 + z2 / n)
        half_width = _Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        # Rounding would leave 1e-17 where the formula gives exactly 0, and 1 - 1e-16 where it gives 1.
        low = 0.0 if self.correct == 0 else middle - half_width
        high = 1.0 if self.correct == self.total else middle + half_width
        return low, high


def pairs(feature: str | None = None) -> tuple[Pair, ...]:
    """The book's pairs, in the order of the file.

    Args:
        feature: one of the features that have pairs, or None for all pairs.

    Raises:
        ValueError: on another name; the message lists the features.
    """
    everything = _book_pairs()
    if feature is None:
        return everything
    chosen = tuple(pair for pair in everything if pair.feature == feature)
    if not chosen:
        known = [name for name in FEATURES if any(pair.feature == name for pair in everything)]
        raise ValueError(f"got feature {feature!r}, expected one of {', '.join(known)}, or None for all")
    return chosen


@cache
def _book_pairs() -> tuple[Pair, ...]:
    return load(resources.files("bow2gpt") / "probes.csv")


def load(path: str | Path | Traversable) -> tuple[Pair, ...]:
    """Read pairs from a CSV file with the columns feature, phenomenon, better, worse, source.

    Args:
        path: a UTF-8 file, its first line the names of the columns.

    Raises:
        ValueError: if the file or one of its rows is malformed; the message names the line.
        FileNotFoundError: if there is no such file.
    """
    path = Path(path) if isinstance(path, str) else path
    found: dict[Pair, int] = {}
    with path.open("r", encoding="utf-8", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            if header != _COLUMNS:
                raise ValueError(f"got the columns {','.join(header) or 'none'}, expected {','.join(_COLUMNS)}")
            for row in reader:
                pair = _checked(row)
                if pair in found:
                    raise ValueError(f"the same row is on line {found[pair]}; keep one of them")
                found[pair] = reader.line_num
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text ({error.reason}); save the file as UTF-8") from error
        except (csv.Error, ValueError) as error:
            raise ValueError(f"{path}, line {max(reader.line_num, 1)}: {error}") from error
    if not found:
        raise ValueError(f"{path}: got no pairs; expected at least one row below the names of the columns")
    return tuple(found)


def _checked(row: list[str]) -> Pair:
    if len(row) != len(_COLUMNS):
        raise ValueError(f"got {len(row)} cells, expected {len(_COLUMNS)}; put quotes around text that holds a comma")
    for name, cell in zip(_COLUMNS, row, strict=True):
        if not cell or cell != cell.strip():
            raise ValueError(f"got {cell!r} as {name}, expected text without blanks around it")
    pair = Pair(*row)
    if pair.feature not in FEATURES:
        raise ValueError(f"got feature {pair.feature!r}, expected one of {', '.join(FEATURES)}")
    if pair.better == pair.worse:
        raise ValueError(f"the two halves are the same, {pair.better!r}; they must differ in the phenomenon")
    return pair


def score(model: ruler.LanguageModel, chosen: Sequence[Pair] | None = None) -> tuple[Score, ...]:
    """Ask a model all pairs: is the better half likelier than the worse one?

    Each half is scored as a whole, at the start of a paragraph (`CONTEXT`), by the log-probability of its text. It is
    not divided by length, neither in bytes nor in tokens: a model that spells an unknown word has more tokens to pay
    for, and dividing by their number would reward it for not knowing. The pairs themselves are matched in length
    instead (within 20 %), and the better half is the longer one about as often as it is the shorter one.

    Args:
        model: any language model.
        chosen: the pairs to ask; None for all of the book's.

    Returns:
        For each feature, in the order of `FEATURES`: one score of all its pairs (its `phenomenon` is None), then one of
        each phenomenon, in the order of the pairs.

    Raises:
        ValueError: if there is no pair to ask, or the model's answer is not a finite number.
    """
    asked = pairs() if chosen is None else tuple(chosen)
    if not asked:
        raise ValueError("got no pairs to ask; leave out `chosen` for all of the book's")
    points: dict[tuple[str, str | None], list[float]] = {}
    for pair in asked:
        point = _point(model, pair)
        points.setdefault((pair.feature, None), []).append(point)
        points.setdefault((pair.feature, pair.phenomenon), []).append(point)
    in_order = sorted(points, key=lambda key: FEATURES.index(key[0]))  # stable: phenomena keep their order
    return tuple(Score(*key, correct=sum(points[key]), total=len(points[key])) for key in in_order)


def _point(model: ruler.LanguageModel, pair: Pair) -> float:
    better, worse = (ruler.log_prob(model, half, context=CONTEXT) for half in (pair.better, pair.worse))
    if not (math.isfinite(better) and math.isfinite(worse)):
        raise ValueError(
            f"{type(model).__name__} gave the log-probabilities {better} and {worse} to {pair.better!r} and "
            f"{pair.worse!r}; expected finite numbers: smooth the model, so that no text is impossible"
        )
    if abs(better - worse) <= _TIE:
        return 0.5
    return float(better > worse)
