"""What the replicas report of their state counts by who votes now."""

from __future__ import annotations

from node.digests import Digests

A, B = b"a" * 16, b"b" * 16


def test_a_majority_of_the_voters_agrees() -> None:
    digests = Digests("n1", lambda: ("n1", "n2", "n3"))
    digests.keep(16, A)
    assert digests.report("n2", 16, A)
    assert digests.agreed == (16, A)


def test_learners_and_who_was_removed_agree_upon_nothing() -> None:
    voters = ["n1", "n2", "n3"]
    digests = Digests("n1", lambda: voters)
    digests.keep(16, A)
    assert not digests.report("learner", 16, B)
    assert not digests.report("other", 16, B)
    assert digests.agreed == (0, b"")
    voters += ["n4", "n5"]
    assert not digests.report("n2", 16, A)
    assert digests.report("n4", 16, A)
    assert digests.agreed == (16, A)


def test_one_voter_alone_is_told_by_nobody() -> None:
    digests = Digests("n1", lambda: ())
    digests.keep(16, A)
    assert not digests.report("n2", 16, B)
