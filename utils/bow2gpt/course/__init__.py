"""The workshop: builds notebooks, modules and exercises from their sources, grades exercises, keeps progress."""

import sys

# To read a notebook, jsonschema is imported, which compiles forty grammars of internationalised web addresses if it
# finds this package: seconds of each command and of each process that grades, for a format that no notebook has.
sys.modules.setdefault("rfc3987_syntax", None)
