"""The claims ledger: what the source says, what the book measured, and the verdict."""

from __future__ import annotations

VERDICTS = ("holds", "holds in part", "does not hold")


def verdict(number: int, claim: str, measured: str, verdict: str) -> None:
    """Show the verdict on one claim of the source in a notebook.

    Args:
        number: the claim's number in the ledger.
        claim: the speaker's point in a line, told fairly.
        measured: what the experiment above found, with its numbers.
        verdict: one of `VERDICTS`.

    Raises:
        ValueError: on another verdict.
    """
    from IPython.display import display

    if verdict not in VERDICTS:
        raise ValueError(f"got the verdict {verdict!r}, expected one of: {', '.join(VERDICTS)}")
    row = {"number": number, "claim": claim, "measured": measured, "verdict": verdict}
    text = f"**Claim {number}.** *{claim}*\n\nMeasured: {measured}\n\n**Verdict: {verdict}.**"
    # The second representation is for the command that collects the ledger from executed chapters.
    display({"text/markdown": text, "text/plain": text, "application/vnd.bow2gpt.claim+json": row}, raw=True)
