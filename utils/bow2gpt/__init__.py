"""The library of the book *From Bag of Words to GPT*.

Import the part you need: `from bow2gpt import corpus, ruler, probes`. Importing the package itself loads nothing heavy.
"""

import sys

__version__ = "0.1.0"

if sys.platform == "emscripten":  # inside a browser
    from bow2gpt import browser

    browser.adapt()
