"""The browser of the tests that look at pages as a reader does."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Error, sync_playwright

# It sees this computer and nothing else, whatever proxy the environment names; as root there is no sandbox to be had.
ARGUMENTS = [
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
    "--force-prefers-reduced-motion",
    *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium, offline: the system's, or else the one that Playwright installs.

    Raises:
        RuntimeError: if there is neither, saying how to install one.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        except Error as error:
            raise RuntimeError(
                f"Chromium does not start: got {program or 'none'}; on Debian and Ubuntu `apt install chromium`, "
                f"elsewhere `.venv/bin/playwright install chromium`. {error}"
            ) from error
        try:
            yield browser
        finally:
            browser.close()
