"""The library of the book *From Bag of Words to GPT*.

Import the part you need: `from bow2gpt import corpus, ruler, probes`. Importing the package itself loads nothing heavy.
"""

import importlib.util
import sys

__version__ = "0.1.0"

# Inside a browser. There numpy comes from the network; without one the corpus can still be read.
if sys.platform == "emscripten" and importlib.util.find_spec("numpy"):
    from bow2gpt import browser

    browser.adapt()
