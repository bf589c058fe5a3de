"""Plugins of nbgrader that a course needs: what a late submission costs, and a table for a learning platform."""

from __future__ import annotations

import csv
import math

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.plugins import BasePlugin, ExportPlugin
from traitlets import Float, Integer

_DAY = 24 * 60 * 60  # seconds


class LateDays(BasePlugin):
    """A share of the points for each day begun after the days that are free.

    In `nbgrader_config.py`:

        c.AssignLatePenalties.plugin_class = "bow2gpt.course.plugins.LateDays"
        c.LateDays.free_days = 2
        c.LateDays.percent_per_day = 10
    """

    free_days = Integer(0, help="Days after the due date that cost nothing.").tag(config=True)
    percent_per_day = Float(10.0, help="Of the points of the submission, for each further day begun.").tag(config=True)

    def late_submission_penalty(self, student_id: str, score: float, total_seconds_late: float) -> float:
        """The points to take off.

        Args:
            student_id: not used: all students have the same rule.
            score: points before.
            total_seconds_late: after the due date.
        """
        days = max(0, math.ceil(total_seconds_late / _DAY) - self.free_days)
        return min(score, score * days * self.percent_per_day / 100)


class OneRowEach(ExportPlugin):
    """A CSV file with a row for each student and a column for each assignment, as learning platforms import it.

    `nbgrader export --exporter bow2gpt.course.plugins.OneRowEach --to grades.csv`; a field is empty where nothing was
    submitted, and what came late is already taken off.
    """

    def export(self, gradebook: Gradebook) -> None:
        """Write the file."""
        assignments = [one for one in gradebook.assignments if one.name in (self.assignment or [one.name])]
        students = [one for one in gradebook.students if one.id in (self.student or [one.id])]
        columns = [f"{one.name} ({one.max_score:g})" for one in assignments]
        with open(self.to or "grades.csv", "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["student_id", "last_name", "first_name", "email", "lms_user_id", *columns])
            for student in sorted(students, key=lambda student: student.id):
                who = [student.id, student.last_name, student.first_name, student.email, student.lms_user_id]
                table.writerow([*(part or "" for part in who), *(_points(gradebook, student, a) for a in assignments)])


def _points(gradebook: Gradebook, student, assignment) -> str:
    try:
        found = gradebook.find_submission(assignment.name, student.id)
    except MissingEntry:
        return ""
    return f"{max(0.0, found.score - found.late_submission_penalty):g}"
