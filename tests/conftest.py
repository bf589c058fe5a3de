"""A small clone of the book, with two chapters and one exercise of its own, for the tests of the workshop.

And who runs when: a test marked `alone` has the machine for itself, whatever the other workers are at.
"""

import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

import clean
import pytest

ROOT = Path(__file__).resolve().parents[1]

OPENING = """\
# %% [markdown]
# # Opening
#
# A chapter that exports nothing.

# %%
1 + 1
"""

CHAPTER = '''\
# %% [markdown]
# # 02 Small things
#
# ## Counting by hand
#
# Some text.

# %%
print("a demonstration")

# %% [markdown]
# ```python
# # not a heading
# ```
#
# ## Counting by hand

# %% tags=["export"]
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bow2gpt import checks

# The unit of everything.
UNIT = 1


def total(values: Sequence[int]) -> int:
    """Add up values."""
    checks.true(bool(values), "nothing to add")
    return int(np.sum(values)) * UNIT


# %%
total([1, 2])

# %% tags=["export"]
import re
from collections import Counter
from collections.abc import Iterable


class Words:
    """Words of a text."""

    def __init__(self, text: str, folder: Path) -> None:
        self.words = re.findall("[a-z]+", text)
        self.folder = folder

    def count(self, only: Iterable[str]) -> Counter:
        return Counter(word for word in self.words if word in set(only))


# %%
Words("a b", Path()).count(["a"])
'''

EXERCISE = '''\
# %% [markdown]
# # Small things: exercises
#
# ## Task: `double`

# %% locked="imports"
from bow2gpt import checks

# %% task="double"
def double(value: int) -> int:
    """Twice the value."""
    ### BEGIN SOLUTION
    answer_to_keep_secret = value * 2
    return answer_to_keep_secret
    ### END SOLUTION

# %% check="double" points=2
checks.equal(double(4), 8, hint="twice means times two")
### BEGIN HIDDEN TESTS
checks.hidden(
    title="double on random negative numbers",
    call="double",
    inputs=lambda rng: (-int(rng.integers(1, 99)),),
    reference=lambda value: value + value,
    hint="negative numbers too",
)
### END HIDDEN TESTS

# %%
print(double(21))

# %% mistake="double" name="square" says="negative numbers too"
def double(value: int) -> int:
    return value * 2 if value > 0 else value

# %% mistake="double" name="no_return" says="got None, expected 8"
def double(value: int) -> int:
    value * 2

# %% mistake="double" name="syntax" says="your cell does not run: SyntaxError"
def double(value: int) -> int:
    return value *

# %% alternative="double" name="shift"
def double(value: int) -> int:
    return value << 1

# %% [markdown]
# ## Task: `initials`

# %% task="initials"
def initials(words: list[str]) -> list[str]:
    """The first letter of each word; None has none."""
    ### BEGIN SOLUTION
    return [word[0] for word in words if word]
    ### END SOLUTION

# %% check="initials" points=1
checks.equal(initials(["ab", "c"]), ["a", "c"], hint="one letter of each")

# %% check="initials" points=3
checks.equal(initials(["ab", ""]), ["a"], hint="an empty word has no first letter")
### BEGIN HIDDEN TESTS
words = ["left", "alone"]
initials(words)
checks.unchanged(["left", "alone"], words, "the list of words")
### END HIDDEN TESTS

# %% mistake="initials" name="last" says="one letter of each"
def initials(words: list[str]) -> list[str]:
    return [word[-1] for word in words if word]

# %% mistake="initials" name="empty" says="IndexError" loses=3
def initials(words: list[str]) -> list[str]:
    return [word[0] for word in words]

# %% mistake="initials" name="mutates" says="changed the list of words" loses=3
def initials(words: list[str]) -> list[str]:
    words[:] = [word[0] for word in words if word]
    return list(words)

# %% alternative="initials" name="slices"
def initials(words: list[str]) -> list[str]:
    return [word[:1] for word in words if word != ""]
'''


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Numpy and torch crawl when two programs share the cores: what needs all of them waits for the others."""
    alone = item.get_closest_marker("alone")
    (folder := ROOT / ".bow2gpt").mkdir(exist_ok=True)
    with open(folder / "turnstile.lock", "a") as turnstile, open(folder / "machine.lock", "a") as machine:
        fcntl.flock(turnstile, fcntl.LOCK_EX)  # who waits for the machine lets nobody pass
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(turnstile, fcntl.LOCK_UN)
        return (yield)


@pytest.fixture(scope="session")
def clean_python() -> Path:
    """The Python of the clean environment, with the book in it as a wheel."""
    return clean.install()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The root of a small clone, nothing built yet."""
    return make_clone(tmp_path / "a clone")


def make_clone(root: Path) -> Path:
    """Write a small clone."""
    for folder in ("chapters", "exercises", "solutions/02_small_things", "utils/bow2gpt/chapters"):
        (root / folder).mkdir(parents=True)
    for name in ("jupytext.toml", "nbgrader_config.py"):
        shutil.copy(ROOT / name, root / name)
    (root / "utils/bow2gpt/chapters/__init__.py").write_text("")
    (root / "chapters/00_opening.py").write_text(OPENING)
    (root / "chapters/02_small_things.py").write_text(CHAPTER)
    (root / "solutions/02_small_things/small_things.py").write_text(EXERCISE)
    (root / "solutions/02_small_things/numbers.csv").write_text("1,2\n")
    return root
