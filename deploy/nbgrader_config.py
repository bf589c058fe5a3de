"""nbgrader's settings for all users of a hub: one course, whose exchange is a folder that everybody reaches."""

import os
import pwd

c = get_config()  # noqa: F821 - nbgrader provides it

c.CourseDirectory.course_id = "words"
c.Exchange.root = "/srv/nbgrader/exchange"
# On Kubernetes everybody is the Unix user jovyan, and nbgrader goes by the hub's names: who owns a file says nothing.
c.ExchangeCollect.check_owner = pwd.getpwuid(os.getuid()).pw_name != "jovyan"
