"""A course on a real JupyterHub: two students and a teacher work through their own servers, as browsers do.

Where the system allows it, the three are different Unix users, known only inside a mount namespace of the hub's own:
then the permissions of nbgrader's exchange are real. Elsewhere all servers run as one user, and a warning says so.
"""

import csv
import io
import json
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import psutil
import pytest
import requests
import websocket
from conftest import make_clone

import bow2gpt

TEACHER, ALICE, BOB = "teacher", "alice", "bob"
USERS = {TEACHER: 61_001, ALICE: 61_002, BOB: 61_003}
PASSWORD = "only for this test"
COURSE, ASSIGNMENT, NOTEBOOK = "words", "02_small_things", "small_things"
PATIENCE = 120  # seconds for any one thing
PROXY = "configurable-http-proxy"
BOW2GPT = f"{shlex.quote(sys.executable)} -m bow2gpt.cli"

RIGHT = {
    "double": "def double(value):\n    return 2 * value\n",
    "initials": "def initials(words):\n    return [word[0] for word in words if word]\n",
}
WRONG = RIGHT | {"initials": "def initials(words):\n    return [word[0] for word in words]\n"}

HUB_SETTINGS = """\
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{ports[0]}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{ports[1]}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{ports[2]}"
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = {password!r}
c.Authenticator.allowed_users = {users!r}
c.JupyterHub.spawner_class = {spawner!r}
c.SimpleLocalProcessSpawner.home_dir_template = {homes!r} + "/{{username}}"
c.Spawner.cmd = [{python!r}, "-m", "jupyterhub.singleuser"]
# Else terminals start login shells, which forget the PATH that leads to the course's Python.
c.Spawner.args = ["--ServerApp.terminado_settings=shell_command=['/bin/bash']", *{more!r}]
c.Spawner.environment = {{"JUPYTER_CONFIG_PATH": {etc!r}}}
c.Spawner.start_timeout = c.Spawner.http_timeout = {patience}
"""

# For all users of the hub.
NBGRADER_SETTINGS = """\
c = get_config()
c.CourseDirectory.course_id = {course!r}
c.Exchange.root = {exchange!r}
"""

# nbgrader takes the name of the Unix user for that of the student; where all have the same, the hub knows better.
ONE_USER_SETTINGS = """\
import os

if os.environ["JUPYTERHUB_USER"] != {teacher!r}:
    c.CourseDirectory.student_id = os.environ["JUPYTERHUB_USER"]
"""

TEACHER_SETTINGS = """\
c = get_config()
c.CourseDirectory.root = {root!r}
"""

Found = TypeVar("Found")


def until(attempt: Callable[[], Found], what: str, log: Path) -> Found:
    """Try again until something is found; what the hub said is shown if it never is."""
    end = time.monotonic() + PATIENCE
    while not (found := attempt()):
        if time.monotonic() > end:
            pytest.fail(f"{what}: not after {PATIENCE} seconds; the hub's last words:\n{log.read_text()[-6000:]}")
        time.sleep(0.1)
    return found


def no_proxy() -> requests.Session:
    """A browser that asks this machine itself, whatever proxy the environment names."""
    session = requests.Session()
    session.trust_env = False
    return session


# A hub


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def closed_parent(place: Path) -> Path | None:
    """The outermost folder around a place that other users cannot enter."""
    closed = (folder for folder in reversed(place.parents) if not folder.stat().st_mode & stat.S_IXOTH)
    return next(closed, None)


def own_view(place: Path) -> list[str]:
    """A command that runs another, as root, where the three users exist and can reach this Python.

    It has its own list of users, its own processes, which end with it, and, where closed folders are around what the
    servers need, such as /root, empty open ones with only that in them.
    """
    homes, keep = place / "home", place / "keep"
    keep.mkdir()
    lines = [f"{name}:x:{number}:{number}::{homes / name}:/bin/bash" for name, number in USERS.items()]
    (place / "passwd").write_text("\n".join([Path("/etc/passwd").read_text().rstrip("\n"), *lines, ""]))
    programs = [Path(shutil.which(name) or sys.executable) for name in (PROXY, "node")]
    needed = {Path(sys.prefix), Path(sys.base_prefix), Path(bow2gpt.__file__).resolve().parents[1]}
    needed |= {path.parents[1] for program in programs for path in (program, program.resolve())}
    hidden = sorted((path, closed) for path in needed if (closed := closed_parent(path)))
    away, back = [], []
    for number, (path, _) in enumerate(hidden):
        away += [["mkdir", "-p", f"{keep / str(number)}"], ["mount", "--bind", f"{path}", f"{keep / str(number)}"]]
        back += [["mkdir", "-p", f"{path}"], ["mount", "--bind", f"{keep / str(number)}", f"{path}"]]
    closed = {closed for _, closed in hidden}
    empty = [["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", f"{folder}"] for folder in closed]
    steps = [["mount", "--bind", f"{place / 'passwd'}", "/etc/passwd"], *away, *empty, *back]
    script = "\n".join(["set -e", *map(shlex.join, steps), 'exec "$@"'])
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, "view"]


def why_not(view: list[str], homes: Path) -> str:
    """Why different users cannot be had here; tried, since systems differ. Empty if they can."""
    if os.geteuid():
        return "only root can start servers for others"
    number = str(USERS[ALICE])
    user = ["setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups"]
    code = f"import os, bow2gpt.cli, nbgrader, jupyterhub; os.listdir({str(homes)!r})"
    command = [*view, *user, sys.executable, "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stderr.strip().splitlines() or ["no reason given"])[-1] if done.returncode else ""


@dataclass
class Hub:
    """A running hub: its address, its folder, and whether its users are different Unix users."""

    url: str
    place: Path
    different: bool
    process: subprocess.Popen
    people: dict[str, "Person"] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)  # by the command that grades, each time

    @property
    def log(self) -> Path:
        return self.place / "hub" / "log"

    def is_up(self) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"the hub ended; its last words:\n{self.log.read_text()[-6000:]}")
        try:
            return no_proxy().get(f"{self.url}/hub/health", timeout=PATIENCE).ok
        except requests.ConnectionError:
            return False


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """A hub with a course in the teacher's home, and everybody signed in."""
    if not shutil.which(PROXY):
        pytest.fail(f"a hub needs {PROXY}: `make test` installs it, or `npm install --global {PROXY}@5.1.0`")
    place = Path(tempfile.mkdtemp(prefix="bow2gpt-hub-")).resolve()
    process = None
    try:
        place.chmod(0o755)
        process, hub = start(place)
        until(hub.is_up, "the hub starts", hub.log)
        hub.people = {name: Person(hub, name) for name in USERS}
        for person in hub.people.values():
            person.sign_in()
        for person in hub.people.values():
            until(person.has_server, f"the server of {person.name} starts", hub.log)
        yield hub
    finally:
        if process:
            end(process)
        shutil.rmtree(place, ignore_errors=True)


def start(place: Path) -> tuple[subprocess.Popen, Hub]:
    """Write everybody's files and settings, and start a hub."""
    homes, exchange, etc, own = (place / name for name in ("home", "exchange", "etc", "hub"))
    for folder in (homes, exchange, etc, own, *(homes / name for name in USERS)):
        folder.mkdir()
    exchange.chmod(0o777)
    own.chmod(0o700)
    course = make_clone(homes / TEACHER / "course")
    (homes / TEACHER / ".jupyter").mkdir()
    (homes / TEACHER / ".jupyter/nbgrader_config.py").write_text(TEACHER_SETTINGS.format(root=str(course)))
    view = own_view(place)
    reason = why_not(view, homes)
    if reason:
        warnings.warn(f"all servers of the hub run as one user, permissions are not tested: {reason}", stacklevel=2)
    for name, number in USERS.items():
        (homes / name).chmod(0o700)
        for path in () if reason else (homes / name, *(homes / name).rglob("*")):
            os.chown(path, number, number)
    general = NBGRADER_SETTINGS.format(course=COURSE, exchange=str(exchange))
    (etc / "nbgrader_config.py").write_text(general + (ONE_USER_SETTINGS.format(teacher=TEACHER) if reason else ""))
    ports = free_ports(3)
    settings = HUB_SETTINGS.format(
        ports=ports,
        password=PASSWORD,
        users=set(USERS),
        spawner="simple" if reason else "jupyterhub.spawner.LocalProcessSpawner",
        homes=str(homes),
        python=sys.executable,
        etc=str(etc),
        more=["--allow-root"] if reason and os.geteuid() == 0 else [],
        patience=PATIENCE,
    )
    (own / "jupyterhub_config.py").write_text(settings)
    command = [sys.executable, "-m", "jupyterhub", "-f", str(own / "jupyterhub_config.py")]
    with (own / "log").open("w") as log:
        process = subprocess.Popen([*([] if reason else view), *command], cwd=own, stdout=log, stderr=log)
    return process, Hub(f"http://127.0.0.1:{ports[0]}", place, not reason, process)


def end(process: subprocess.Popen) -> None:
    """End a hub with its proxy, its servers and whatever they started."""
    try:
        parent = psutil.Process(process.pid)
        family = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        family = []
    for one in family:
        if one.is_running():
            one.kill()
    process.wait(PATIENCE)
    psutil.wait_procs(family, timeout=PATIENCE)


# Its users


class Person:
    """Somebody with a browser."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub, self.name = hub, name
        self.session = no_proxy()

    def sign_in(self) -> None:
        """Sign in, which starts a server."""
        login = f"{self.hub.url}/hub/login"
        self.session.get(login, timeout=PATIENCE).raise_for_status()
        form = {"username": self.name, "password": PASSWORD, "_xsrf": self._token("/hub/")}
        self.session.post(login, data=form, timeout=PATIENCE).raise_for_status()
        self.session.get(f"{self.hub.url}/hub/spawn", timeout=PATIENCE).raise_for_status()

    def has_server(self) -> bool:
        """Whether the page that waits for the server has led on to it."""
        page = self.session.get(f"{self.hub.url}/hub/spawn-pending/{self.name}", timeout=PATIENCE)
        page.raise_for_status()
        return page.url.startswith(f"{self.hub.url}/user/{self.name}/")

    def ask(self, method: str, path: str, body: object = None, of: str = "") -> requests.Response:
        """Ask a server, one's own if not said otherwise."""
        place = f"/user/{of or self.name}/"
        headers = {"X-XSRFToken": self._token(place)}
        address = f"{self.hub.url}{place}{quote(path, safe='/?=&')}"
        return self.session.request(method, address, json=body, headers=headers, timeout=PATIENCE)

    def get(self, path: str) -> Any:
        """What one's own server answers, from JSON."""
        return self._right(self.ask("GET", path))

    def post(self, path: str, body: object = None) -> Any:
        """Let one's own server do something, successfully."""
        answer = self._right(self.ask("POST", path, body))
        assert answer["success"], answer
        return answer

    def _right(self, response: requests.Response) -> Any:
        assert response.ok, f"{response.request.method} {response.url}: {response.status_code} {response.text[:3000]}"
        return response.json()

    def _token(self, path: str) -> str:
        found = (cookie.value for cookie in self.session.cookies if cookie.name == "_xsrf" and cookie.path == path)
        return next(found, "")

    # What a student does

    def assignments(self, status: str) -> list[dict]:
        """What the page of assignments lists as released, fetched or submitted."""
        return [one for one in self.get(f"assignments?course_id={COURSE}")["value"] if one["status"] == status]

    def transfer(self, action: str) -> None:
        """Press a button of the page of assignments: fetch, submit, fetch_feedback."""
        self.post(f"assignments/{action}", {"course_id": COURSE, "assignment_id": ASSIGNMENT})

    def answer(self, answers: dict[str, str]) -> None:
        """Open the notebook, write answers into it, and save it."""
        path = f"api/contents/{ASSIGNMENT}/{NOTEBOOK}.ipynb"
        notebook = self.get(path)["content"]
        for cell in notebook["cells"]:
            marks = cell["metadata"].get("nbgrader", {})
            if marks.get("solution"):
                cell["source"] = answers[marks["grade_id"]]
        self._right(self.ask("PUT", path, {"type": "notebook", "format": "json", "content": notebook}))

    def feedback(self, submission: int = -1) -> str:
        """The page that came back, for the latest submission if not said otherwise."""
        (entry,) = self.assignments("submitted")
        return self.ask("GET", f"files/{entry['submissions'][submission]['local_feedback_path']}/{NOTEBOOK}.html").text

    # What anybody can do

    def run(self, command: str) -> tuple[int, str]:
        """Type a command into a terminal: its exit status, and all that the terminal showed."""
        name = self._right(self.ask("POST", "api/terminals"))["name"]
        place = f"/user/{self.name}/"
        address = f"ws{self.hub.url.removeprefix('http')}{place}terminals/websocket/{name}?_xsrf={self._token(place)}"
        cookies = requests.cookies.get_cookie_header(
            self.session.cookies, requests.Request("GET", f"{self.hub.url}{place}")
        )
        line = websocket.create_connection(address, cookie=cookies, origin=self.hub.url, timeout=PATIENCE)
        shown, finish = "", time.monotonic() + PATIENCE
        try:
            line.send(json.dumps(["stdin", f"{command}; echo status=$?\r"]))
            while not (status := re.search(r"status=(\d+)", shown)):
                assert time.monotonic() < finish, shown
                kind, *parts = json.loads(line.recv())
                shown += parts[0] if kind == "stdout" else ""
        finally:
            line.close()
            self.ask("DELETE", f"api/terminals/{name}")
        return int(status[1]), shown

    def does(self, command: str) -> str:
        """Type a command that must succeed."""
        status, shown = self.run(command)
        assert status == 0, shown
        return shown


# The course


@pytest.fixture(scope="module")
def course(hub: Hub) -> Hub:
    """The hub after two rounds: both students submit something wrong, then one of them something better."""
    teacher, alice, bob = (hub.people[name] for name in (TEACHER, ALICE, BOB))
    teacher.does(f"cd course && {BOW2GPT} build")
    for step in ("assign", "release"):
        teacher.post(f"formgrader/api/assignment/{ASSIGNMENT}/{step}")
    for student in (alice, bob):
        (entry,) = student.assignments("released")
        assert entry["assignment_id"] == ASSIGNMENT
        student.transfer("fetch")
        student.answer(WRONG)
        student.transfer("submit")
    hub.said.append(collect_and_grade(teacher))
    alice.answer(RIGHT)
    alice.transfer("submit")
    hub.said.append(collect_and_grade(teacher))
    for student in (alice, bob):
        student.transfer("fetch_feedback")
    return hub


def collect_and_grade(teacher: Person) -> str:
    """Collect, grade and make the feedback ready; what the command said."""
    teacher.post(f"formgrader/api/assignment/{ASSIGNMENT}/collect")
    said = teacher.does(f"cd course && {BOW2GPT} grade 02")
    if "WITHOUT A SANDBOX" in said:
        warnings.warn("bubblewrap does not work in the hub's servers: graded without a sandbox", stacklevel=2)
    teacher.post(f"formgrader/api/assignment/{ASSIGNMENT}/release_feedback")
    return said


def test_each_student_reads_how_many_points_and_why(course: Hub) -> None:
    right, wrong = course.people[ALICE].feedback(), course.people[BOB].feedback()
    assert f"<h1>{ASSIGNMENT}: alice</h1>" in right
    assert "<strong>6 of 6 points</strong>" in right
    assert "<pre>" not in right
    assert f"<h1>{ASSIGNMENT}: bob</h1>" in wrong
    assert "<strong>3 of 6 points</strong>" in wrong
    double, initials = re.findall(r"<section>.*?</section>", wrong, re.DOTALL)
    assert "<span>double</span>" in double
    assert "2 of 2" in double
    assert "<span>initials</span>" in initials
    assert "1 of 4" in initials
    assert "IndexError" in initials


def test_students_get_no_hidden_checks(course: Hub) -> None:
    bob = course.people[BOB]
    names = {entry["name"] for entry in bob.get(f"api/contents/{ASSIGNMENT}")["content"]}
    assert names == {f"{NOTEBOOK}.ipynb", "numbers.csv", "feedback"}
    assert "hidden" not in bob.ask("GET", f"files/{ASSIGNMENT}/{NOTEBOOK}.ipynb").text.lower()


def test_nobody_reaches_what_is_anothers(course: Hub) -> None:
    alice = course.people[ALICE]
    for path in (f"files/{ASSIGNMENT}/{NOTEBOOK}.ipynb", "api/contents", f"assignments?course_id={COURSE}"):
        assert alice.ask("GET", path, of=BOB).status_code == 403
    for path in ("formgrader/api/students", "api/contents/course", "files/course/gradebook.db"):
        assert alice.ask("GET", path, of=TEACHER).status_code == 403
    assert alice.ask("POST", f"formgrader/api/assignment/{ASSIGNMENT}/collect", of=TEACHER).status_code == 403
    assert {entry["student_id"] for entry in alice.assignments("submitted")} == {ALICE}
    if course.different:
        exchange, homes = course.place / "exchange" / COURSE, course.place / "home"
        private = [exchange / "inbound", exchange / "feedback", homes / BOB, homes / TEACHER / "course"]
        for path in private:
            status, shown = alice.run(f"LC_ALL=C ls {path}")
            assert status
            assert "Permission denied" in shown
        for path in (exchange / "outbound" / ASSIGNMENT, exchange / "feedback"):
            status, shown = alice.run(f"LC_ALL=C touch {path}/more")
            assert status
            assert "Permission denied" in shown


def test_the_teacher_sees_and_exports_the_points(course: Hub) -> None:
    teacher = course.people[TEACHER]
    scores = {ALICE: 6, BOB: 3}
    students = {entry["id"]: entry["score"] for entry in teacher.get("formgrader/api/students")}
    assert students == scores
    submissions = teacher.get(f"formgrader/api/submissions/{ASSIGNMENT}")
    assert {entry["student"]: (entry["score"], entry["max_score"]) for entry in submissions} == {
        name: (score, 6) for name, score in scores.items()
    }
    assert not any(entry["needs_manual_grade"] for entry in submissions)
    teacher.does(f"cd course && {shlex.quote(sys.executable)} -m nbgrader export")
    rows = csv.DictReader(io.StringIO(teacher.get("api/contents/course/grades.csv")["content"]))
    exported = {row["student_id"]: (float(row["score"]), float(row["max_score"])) for row in rows}
    assert exported == {name: (score, 6) for name, score in scores.items()}


def test_only_what_is_new_is_graded_again(course: Hub) -> None:
    first, second = course.said
    assert "2 graded now, 0 unchanged" in first
    assert "1 graded now, 1 unchanged" in second
    alice = course.people[ALICE]
    assert "<strong>3 of 6 points</strong>" in alice.feedback(submission=0)
    assert "<strong>6 of 6 points</strong>" in alice.feedback(submission=1)
