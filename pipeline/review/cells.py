"""Text in the cells of a spreadsheet: never a formula, and read back as it was.

A program that opens a CSV file runs cells that begin with =, +, - or @ (OWASP, CSV Injection). An apostrophe before
them makes them text.
"""

import re

_STARTS = r"(?:\s*[=+\-@＝＋－＠]|[\t\r\n])"
_FORMULA = re.compile(f"'*{_STARTS}")
_GUARDED = re.compile(f"'+{_STARTS}")


def guard(text: str) -> str:
    """What begins like a formula, behind apostrophes or not, gets one apostrophe more."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguard(cell: str) -> str:
    """The inverse; what someone typed without an apostrophe stays as it is."""
    return cell[1:] if _GUARDED.match(cell) else cell
