"""What `audit` prints: the verdict or the failures, and what was encoded again."""

from __future__ import annotations

from mixproof.cli.commands.audit import print_report
from mixproof.cli.output import stdout
from mixproof.tokenize.audit import AuditReport, Failure
from mixproof.tokenize.audit.report import Reencoded

REENCODED = Reencoded(heldout=312, train=190, not_restored=4, without_texts=("[old]",))
SENTENCE = (
    "re-encoded 312 held-out and 190 sampled training documents with the reference tokenizer; "
    "4 sampled texts could not be restored from their ids; "
    "no texts to re-encode in sources adopted from .bin/.idx: [old]\n"
)


def printed(report: AuditReport) -> str:
    with stdout.capture() as capture:
        print_report(report)
    return capture.get()


def test_a_clean_audit_says_what_was_encoded_again_on_a_line_of_its_own() -> None:
    verdict = "audit clean: all 1,234 checks passed at depth bytes\n"
    assert printed(AuditReport(True, "bytes", 1234, (), REENCODED)) == verdict + SENTENCE
    assert printed(AuditReport(True, "arithmetic", 3, ())) == "audit clean: all 3 checks passed at depth arithmetic\n"


def test_a_failed_audit_lists_the_failures_and_says_it_too() -> None:
    failure = Failure("E5", "/store/web.bin", "web", "train", "encode/1/web", "the ids", "other ids")
    text = printed(AuditReport(False, "bytes", 20, (failure,), REENCODED))
    assert "1 of 20 checks failed" in text
    assert text.endswith(SENTENCE)
