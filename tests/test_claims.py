"""A verdict is one of three, shown to the reader and readable by the command that collects the ledger."""

import pytest

from bow2gpt import claims


@pytest.fixture
def shown(monkeypatch):
    seen = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: seen.append((bundle, raw)))
    return seen


@pytest.mark.parametrize("verdict", claims.VERDICTS)
def test_verdict_shows_claim_measurement_and_verdict(shown, verdict):
    claims.verdict(7, "Bags cannot predict.", "1.98 bits per byte", verdict)
    [(bundle, raw)] = shown
    assert raw
    for kind in ("text/markdown", "text/plain"):
        for part in ("Claim 7", "Bags cannot predict.", "1.98 bits per byte", f"Verdict: {verdict}"):
            assert part in bundle[kind]


def test_verdict_leaves_a_record_for_the_ledger(shown):
    claims.verdict(7, "Bags cannot predict.", "1.98 bits per byte", "holds")
    assert shown[0][0]["application/vnd.bow2gpt.claim+json"] == {
        "number": 7,
        "claim": "Bags cannot predict.",
        "measured": "1.98 bits per byte",
        "verdict": "holds",
    }


@pytest.mark.parametrize("verdict", ["", "true", "Holds", None])
def test_unknown_verdict_is_refused(shown, verdict):
    with pytest.raises(ValueError, match="expected one of: holds, holds in part, does not hold"):
        claims.verdict(7, "claim", "measured", verdict)
    assert shown == []
