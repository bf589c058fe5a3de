"""What a course directory says about itself, read without nbgrader: where it is, its settings, what is private."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .paths import CourseError, UsageError

if TYPE_CHECKING:
    from traitlets.config import Config


def course_settings(root: Path) -> Config:
    """What the `nbgrader_config.py` of a course says.

    Raises:
        CourseError: if there is none.
    """
    from traitlets.config import PyFileConfigLoader

    settings = root / "nbgrader_config.py"
    if not settings.is_file():
        raise CourseError(f"{settings} is missing: restore it with `git checkout nbgrader_config.py`")
    return PyFileConfigLoader(settings.name, path=str(root)).load_config()


def settings_of(course: Path) -> Config:
    """The settings of a course directory, which may have none.

    Raises:
        UsageError: if it is no course directory.
    """
    from traitlets.config import Config

    if (course / "nbgrader_config.py").is_file():
        return course_settings(course)
    if (course / "gradebook.db").is_file():
        return Config()
    raise UsageError(f"{course} is no course directory: it has neither nbgrader_config.py nor gradebook.db")


def find_course(start: Path) -> Path:
    """The course directory: this folder, or the next one above it.

    Raises:
        UsageError: if there is none.
    """
    for folder in (start.resolve(), *start.resolve().parents):
        if any((folder / name).is_file() for name in ("nbgrader_config.py", "gradebook.db")):
            return folder
    raise UsageError(f"{start} is not inside a course directory: change to it, or give --course FOLDER")


def private_folders(course: Path, settings: Config) -> tuple[str, ...]:
    """Folders that no submission may see, wherever they are: the course, and nbgrader's exchange."""
    return str(course), str(settings.Exchange.get("root", "/usr/local/share/nbgrader/exchange"))
