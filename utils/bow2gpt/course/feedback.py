"""The page that a student gets back: task by task, what it earned, what was wrong and what may help.

But: nothing of the student's code runs or is shown here, and every text is escaped. So a page is small and harmless.
"""

from __future__ import annotations

import html
from collections.abc import Mapping

from .grade import Result, TaskResult
from .paths import UsageError

HIDDEN = ("nothing", "title", "message")  # how much a page tells of a hidden check that failed
_LONGEST = 2_000  # characters of one message
_STYLE = """
:root { color-scheme: light dark; --good: #1a6b32; --bad: #a3251d; --line: #8886 }
@media (prefers-color-scheme: dark) { :root { --good: #6fd18b; --bad: #ff9a8f } }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
section { border-top: 1px solid var(--line); padding: .6rem 0 }
h2 { font-size: 1.05rem; display: flex; justify-content: space-between; margin: 0 }
.full { color: var(--good) } .less { color: var(--bad) }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .4rem 0 0; font: .9rem/1.4 ui-monospace, monospace }
"""


def page(
    title: str,
    result: Result,
    show: str = "title",
    by_hand: Mapping[str, tuple[float, float]] | None = None,
    comments: Mapping[str, str] | None = None,
    score: tuple[float, float] | None = None,
    waiting: bool = False,
    penalty: float = 0.0,
) -> str:
    """One HTML page, without scripts and without anything from elsewhere.

    Args:
        title: of the page.
        result: of the notebook.
        show: what to tell of hidden checks: `nothing`, `title` or `message`.
        by_hand: points that a person gave and what could be had, by grade id; they replace those of checks.
        comments: of a person, by the name of the answer.
        score: what the gradebook says, if there is one: points and maximum.
        waiting: whether a person has still to look at it.
        penalty: points taken off for a late submission.
    """
    points, maximum = score or (result.points, result.maximum + result.by_hand)
    lines = [f"<p><strong>{points:g} of {maximum:g} points</strong></p>"]
    if penalty:
        lines.append(f"<p>{penalty:g} points were taken off because it came late.</p>")
    if waiting:
        lines.append("<p>A person has still to look at this: the points may change.</p>")
    if result.error:
        lines.append(f'<p class="less">This could not be graded: {_text(result.error)}</p>')
    lines += [f"<p>Mended: {_text(note)}.</p>" for note in result.notes]
    lines += [_section(task, show) for task in result.tasks if not result.error]
    lines += [_marked(name, *given) for name, given in (by_hand or {}).items()]
    lines += [f"<section><h2>{_text(name)}</h2>{_pre(said)}</section>" for name, said in (comments or {}).items()]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{_text(title)}</title>'
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    body = "\n".join(lines)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}{policy}<style>{_STYLE}</style></head>\n'
        f"<body><h1>{_text(title)}</h1>\n{body}\n</body></html>\n"
    )


def known_hidden(show: str) -> str:
    """What a page is to tell of hidden checks, if it is one of the three.

    Raises:
        UsageError: if not.
    """
    if show not in HIDDEN:
        raise UsageError(f"{show!r} is not what a page can tell of hidden checks: choose {', '.join(HIDDEN)}")
    return show


def shown_message(task: TaskResult, show: str) -> str:
    """What a learner may read of a task that is not full."""
    if not task.hidden or show == "message" or not task.message:
        return task.message
    if show == "title" and task.title:
        return f"a hidden check failed: {task.title}"
    return "a hidden check failed"


def _section(task: TaskResult, show: str) -> str:
    full = task.points >= task.maximum
    points = "graded by a person" if task.by_hand and not task.maximum else f"{task.points:g} of {task.maximum:g}"
    said = "" if full else _pre(shown_message(task, show))
    kind = "full" if full else "less"
    return f'<section><h2><span>{_text(task.name)}</span><span class="{kind}">{points}</span></h2>{said}</section>'


def _marked(name: str, points: float, maximum: float) -> str:
    return f"<section><h2><span>{_text(name)}, by a person</span><span>{points:g} of {maximum:g}</span></h2></section>"


def _pre(text: str) -> str:
    return f"<pre>{_text(text)}</pre>" if text else ""


def _text(text: str) -> str:
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
    return html.escape(cut)
