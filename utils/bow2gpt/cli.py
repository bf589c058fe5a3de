"""The command `bow2gpt`: is all well, build, check an exercise, see progress, start afresh, show the ladder."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any

import typer

# Nothing heavy up here: `bow2gpt --help` must answer at once. Each command imports what it needs.

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The workshop of the book From Bag of Words to GPT.",
)

ExerciseArgument = Annotated[
    str, typer.Argument(metavar="EXERCISE", help='Its number or name: "2", "02", "02_counting_models".')
]


def main() -> None:
    """Run the command line."""
    app(prog_name="bow2gpt")


def one_line_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn errors that the person at the keyboard can mend into one line and an exit status."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        from bow2gpt.course.paths import CourseError, UsageError

        try:
            return command(*arguments, **options)
        except UsageError as error:
            _stop(error, status=2)
        except (CourseError, OSError) as error:
            _stop(error, status=1)

    return wrapped


@app.command()
@one_line_errors
def doctor() -> None:
    """Say whether this computer is ready for the book, and what to do where it is not.

    Example: bow2gpt doctor
    """
    from bow2gpt.course.doctor import examine

    findings = examine()
    for finding in findings:
        mark = typer.style("ok ", fg="green") if finding.ok else typer.style("NO ", fg="red", bold=True)
        cure = f" -> {finding.cure}" if finding.cure and not finding.ok else ""
        typer.echo(f"{mark} {finding.subject:<11}{finding.detail}{cure}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command()
@one_line_errors
def build(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if a generated file is not fresh.")
    ] = False,
    tidy: Annotated[
        bool, typer.Option("--tidy", help="First give the chapters' sources the blank lines that JupyterLab saves.")
    ] = False,
) -> None:
    """Generate notebooks, modules and exercises from their sources.

    Example: bow2gpt build --check
    """
    from bow2gpt.course import build as course_build
    from bow2gpt.course.paths import UsageError, find_root

    root = find_root()
    if check and tidy:
        raise UsageError("--check writes nothing and --tidy does: choose one")
    if tidy:
        for path in course_build.tidy(root):
            typer.echo(f"tidied {path.as_posix()}")
    files = course_build.build(root)
    if check:
        problems = course_build.stale(root, files)
        for problem in problems:
            typer.echo(problem)
        if problems:
            raise typer.Exit(1)
    else:
        course_build.write(root, files, say=typer.echo)
    typer.echo(f"{len(files)} generated files are fresh")


@app.command()
@one_line_errors
def check(exercise: ExerciseArgument) -> None:
    """Grade your notebook of an exercise, task by task.

    Save the notebook first. Example: bow2gpt check 02
    """
    from bow2gpt.course import progress as course_progress
    from bow2gpt.course.paths import CourseError, find_exercise, find_root

    root = find_root()
    result = course_progress.check(root, find_exercise(root, exercise))
    if result.error:
        raise CourseError(result.error)
    width = max((len(task.name) for task in result.tasks), default=0)
    for task in result.tasks:
        full = task.points == task.maximum
        mark = typer.style("ok ", fg="green") if full else typer.style("NO ", fg="red", bold=True)
        first_line, *more = task.message.splitlines() or [""]
        typer.echo(f"{mark} {task.name:<{width}}  {_points(task):>7}  {first_line}".rstrip())
        for line in more:
            typer.echo(f"{'':<{width + 15}}{line}".rstrip())
    typer.echo(f"    {'total':<{width}}  {_points(result):>7}")


@app.command()
@one_line_errors
def progress() -> None:
    """Show how far you are in every exercise, and what is next.

    Only what changed since its last check is graded. Example: bow2gpt progress
    """
    from bow2gpt.course import progress as course_progress
    from bow2gpt.course.paths import find_root

    results = course_progress.progress(find_root())
    if not results:
        typer.echo("there are no exercises yet")
        return
    width = max(map(len, results))
    next_step = ""
    for exercise, result in results.items():
        done = round(20 * result.points / result.maximum) if result.maximum else 0
        if result.points < result.maximum:  # full only when all is done
            done = min(done, 19)
        line = f"{exercise:<{width}}  [{'#' * done}{'-' * (20 - done)}]  {_points(result):>7}"
        if result.error:
            line += f"  {typer.style(result.error, fg='red')}"
        typer.echo(line)
        unfinished = next((task for task in result.tasks if task.points < task.maximum), None)
        if unfinished and not next_step:
            next_step = f"next: {unfinished.name} in exercises/{exercise}"
    typer.echo(next_step or "all done")


@app.command()
@one_line_errors
def reset(exercise: ExerciseArgument) -> None:
    """Start an exercise afresh; your work is kept beside it.

    Example: bow2gpt reset 02
    """
    from bow2gpt.course import progress as course_progress
    from bow2gpt.course.paths import exercise_path, find_exercise, find_root

    root = find_root()
    chosen = find_exercise(root, exercise)
    kept = course_progress.reset(root, chosen)
    if kept:
        typer.echo(f"kept   {kept.relative_to(root).as_posix()} (your work until now)")
    typer.echo(f"fresh  {exercise_path(chosen).as_posix()}")


@app.command()
@one_line_errors
def ladder(
    measure: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help='Measure this rung again first; repeat it, or say "all".')
    ] = None,
    draw: Annotated[bool, typer.Option("--draw", help="Draw the figure too, and say where it is.")] = False,
) -> None:
    """Show every model of the book on one scale.

    Example: bow2gpt ladder --measure bytes-8 --draw
    """
    from bow2gpt import ladder as rungs
    from bow2gpt.course.paths import UsageError

    try:
        if measure:
            rungs.measure(measure)
        typer.echo(rungs.table())
        if draw:
            typer.echo(f"drawn  {rungs.draw()}")
    except ValueError as error:
        raise UsageError(str(error)) from None


def _points(result: Any) -> str:
    return f"{result.points:g}/{result.maximum:g}"


def _stop(error: Exception, status: int) -> None:
    message = " ".join(str(error).split())
    typer.echo(f"{typer.style('error:', fg='red', bold=True)} {message}", err=True)
    raise typer.Exit(status) from None


if __name__ == "__main__":
    main()
