"""nbgrader's settings for this course: read by stock `nbgrader` commands, by JupyterLab and by `bow2gpt`."""

from pathlib import Path

c = get_config()  # noqa: F821 - nbgrader provides it

c.CourseDirectory.root = str(Path(__file__).resolve().parent)
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "exercises"
# A source folder also holds the percent source of the notebook: with the answers, so it never travels.
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", "feedback", "*.py"]

c.ClearSolutions.code_stub = {
    "python": 'raise NotImplementedError("not attempted yet: replace this line with your answer")'
}

c.Execute.timeout = 120  # seconds for one cell
# nbgrader gives no points to a check that writes to standard error. So the kernel does not log that its messages are
# not encrypted, and a right answer may divide by zero on its way, of which numpy warns.
quiet = "import warnings; warnings.simplefilter('ignore')"
c.Execute.extra_arguments = ["--IPKernelApp.log_level=ERROR", f"--IPKernelApp.exec_lines={quiet}"]
