"""The command `bow2gpt`: is all well, build, check an exercise, see progress, start afresh, show the ladder."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

# Nothing heavy up here: `bow2gpt --help` must answer at once. Each command imports what it needs.

_WORKSHOP = ("jupytext", "nbformat", "nbgrader", "sqlalchemy")  # come with the extra `lab`

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
AssignmentArgument = Annotated[
    str, typer.Argument(metavar="ASSIGNMENT", help='Its name, or the number of an exercise: "02".')
]
StudentOption = Annotated[list[str] | None, typer.Option(metavar="ID", help="Only this student; repeat it.")]
CourseOption = Annotated[
    str, typer.Option(metavar="FOLDER", help="The course directory; found from here if not given.")
]
HiddenOption = Annotated[
    str, typer.Option(help="What feedback tells of hidden checks that failed: nothing, title or message.")
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
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing not in _WORKSHOP:
                raise
            cure = "in the clone, `make lab` or `pip install -e '.[lab]'` installs it"
            _stop(CourseError(f"{missing} is not installed, which the workshop of the course needs: {cure}"), status=1)

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
def grade(
    assignment: AssignmentArgument,
    student: StudentOption = None,
    again: Annotated[bool, typer.Option("--again", help="Grade also what has not changed.")] = False,
    course: CourseOption = "",
    processes: Annotated[int, typer.Option(min=0, help="How many at once; 0: one for each core.")] = 0,
    scheduler: Annotated[str, typer.Option(metavar="ADDRESS", help="Of a Dask cluster that does the work.")] = "",
    sandbox: Annotated[str, typer.Option(help="bubblewrap, container or none; if not given, what works.")] = "",
    container: Annotated[str, typer.Option(metavar="IMAGE", help="Run in containers of this image.")] = "",
    seconds: Annotated[float, typer.Option(min=0, help="For one cell; 0: what nbgrader_config.py says.")] = 0,
    memory: Annotated[float, typer.Option(min=0.25, help="Gigabytes for one submission.")] = 3,
    seed: Annotated[int | None, typer.Option(help="Of hidden checks' random inputs; else another each time.")] = None,
    variants: Annotated[bool, typer.Option("--variants", help="Give each student random inputs of their own.")] = False,
    hidden: HiddenOption = "title",
    as_json: Annotated[bool, typer.Option("--json", help="Write the outcomes as JSON, for scripts.")] = False,
) -> None:
    """Grade the submissions of a course, and write the gradebook and the feedback.

    Run it again to go on after an interruption. Exit status: 0 if every submission was graded or told why not, 1 if
    grading itself failed for one. Example: bow2gpt grade 02 --student alice
    """
    import json

    from bow2gpt.course import team
    from bow2gpt.course.sandbox import CONTAINER, NONE, UNSAFE, Limits, Worker, default_sandbox
    from bow2gpt.course.settings import private_folders, settings_of

    folder = _course_folder(course)
    kind = CONTAINER if container else sandbox or default_sandbox()
    private = private_folders(folder, settings_of(folder))
    Worker(kind, container).stop()  # says now, not for each student, if there is no such sandbox
    if kind == NONE:
        typer.echo(f"{typer.style('WARNING:', fg='red', bold=True)} {UNSAFE}", err=True)
    local = team.local(processes or team.cores(), (kind, container, private))
    outcomes = []
    with team.cluster(scheduler) if scheduler else local as at_work:
        from tqdm import tqdm  # from here on while those who grade get ready

        from bow2gpt.course import batch
        from bow2gpt.course.feedback import known_hidden
        from bow2gpt.course.grade import Options
        from bow2gpt.course.gradebook import Course

        show, chosen = known_hidden(hidden), "" if seed is None else f"{seed}:{variants}"
        book = Course(folder)
        limits = Limits(seconds=seconds or book.seconds, memory=int(memory * 2**30))
        chosen_seed = {} if seed is None else {"seed": seed}
        options = Options(kind, container, limits, variants=variants, private=private, **chosen_seed)
        work = book.assignment(assignment)
        submissions = book.submissions(work, student)
        found = batch.grade_course(book, work, submissions, options, at_work, show, again=again, chosen=chosen)
        for outcome in tqdm(found, total=len(submissions), unit="submission", disable=None, leave=False):
            outcomes.append(outcome)
    outcomes.sort(key=lambda outcome: outcome.student)
    missing = [] if student else book.without_submission(submissions)
    if as_json:
        students = [outcome.as_json() for outcome in outcomes]
        report = {"assignment": work.id, "seed": options.seed, "students": students, "without_submission": missing}
        typer.echo(json.dumps(report, indent=1))
    else:
        _summary(work.id, outcomes, options.seed)
        if missing:
            typer.echo(f"no submission from {', '.join(missing)}")
    if any(outcome.is_ours for outcome in outcomes):
        raise typer.Exit(1)


def _course_folder(folder: str) -> Path:
    from bow2gpt.course.settings import find_course

    return (Path(folder) if folder else find_course(Path.cwd())).resolve()


def _course(folder: str) -> Any:
    from bow2gpt.course.gradebook import Course

    return Course(_course_folder(folder))


def _summary(assignment: str, outcomes: list[Any], seed: int) -> None:
    if not outcomes:
        typer.echo(f"nobody submitted anything for {assignment}")
        return
    width = max(len(outcome.student) for outcome in outcomes)
    for outcome in outcomes:
        full = outcome.points == outcome.maximum
        mark = typer.style("ok ", fg="green") if full else typer.style("NO ", fg="red", bold=True)
        hand = f" + {outcome.by_hand:g} by hand" if outcome.by_hand else ""
        says = " ".join(outcome.says.split())
        typer.echo(f"{mark} {outcome.student:<{width}}  {_points(outcome):>7}{hand}  {says[:160]}")
    fresh = sum(outcome.fresh for outcome in outcomes)
    typer.echo(f"{fresh} graded now, {len(outcomes) - fresh} unchanged; seed {seed}")


@app.command()
@one_line_errors
def feedback(
    assignment: AssignmentArgument,
    student: StudentOption = None,
    course: CourseOption = "",
    hidden: HiddenOption = "title",
) -> None:
    """Write the feedback again, after grading by hand.

    Example: bow2gpt feedback 02
    """
    from bow2gpt.course.feedback import known_hidden

    book = _course(course)
    work = book.assignment(assignment)
    graded = book.done(work.id)
    written = [one for one in book.submissions(work, student) if one.student in graded]
    for submission in written:
        book.write_feedback(submission, work.id, known_hidden(hidden))
    typer.echo(f"{len(written)} pages written; `nbgrader release_feedback {work.id}` gives them out")


@app.command()
@one_line_errors
def backup(
    restore: Annotated[str, typer.Option(metavar="COPY", help="Put this copy in the place of the gradebook.")] = "",
    course: CourseOption = "",
) -> None:
    """Copy the gradebook, or put a copy back; what was there before is copied too.

    Example: bow2gpt backup
    """
    book = _course(course)
    if restore:
        typer.echo(f"kept   {book.restore(Path(restore))} (what was there)")
        typer.echo(f"back   {restore}")
    else:
        typer.echo(f"copied {book.backup()}")


@app.command()
@one_line_errors
def check(
    exercise: ExerciseArgument,
    sandbox: Annotated[str, typer.Option(help="bubblewrap keeps your files out of its reach.")] = "none",
) -> None:
    """Grade your notebook of an exercise, task by task.

    Save the notebook first. A pass, or three different honest tries, unlocks a task's solution.
    Example: bow2gpt check 02
    """
    from bow2gpt.course import progress as course_progress
    from bow2gpt.course.grade import Options
    from bow2gpt.course.paths import UNLOCKED, CourseError, exercise_path, find_exercise, find_root

    root = find_root()
    chosen = find_exercise(root, exercise)
    before = course_progress.unlocked(root, chosen)
    result = course_progress.check(root, chosen, options=Options(sandbox))
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
    for note in result.notes:
        typer.echo(f"mended: {note}")
    now = course_progress.unlocked(root, chosen)
    if fresh := [task for task, is_open in now.items() if is_open and not before.get(task)]:
        place = exercise_path(chosen).with_name(UNLOCKED).as_posix()
        typer.echo(f"unlocked: the solution of {', '.join(fresh)}, in {place}")


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
