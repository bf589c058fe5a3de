"""The library of the book *From Bag of Words to GPT*.

Import the part you need: `from bow2gpt import corpus, ruler, probes`. Importing the package itself loads nothing heavy.
"""

__version__ = "0.1.0"
