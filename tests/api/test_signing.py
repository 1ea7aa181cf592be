"""Who may be believed: every field that is signed, every way to say it twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raftdjango.node.peers.signing import (
    BOOTS_MAX,
    WINDOW,
    ReplayWindow,
    SignatureRefused,
    Signer,
    StaleBoot,
    Standing,
)

PATH = "/raft/v1/default/messages"
BODY = b"a batch"
N1 = Standing("n1", cluster=b"c" * 16, forming=b"f" * 16, incarnation=b"i" * 16)
N2 = replace(N1, node_id="n2", incarnation=b"j" * 16)


def signer(node_id: str, secret: str = "secret", *fallbacks: str, group: str = "default") -> Signer:
    return Signer(group, node_id, secret, fallbacks)


def request(sender: Signer, receiver: Signer, *, body: bytes = BODY, standing: Standing = N1):
    return sender.sign_request(
        "POST", PATH, body, sender=standing, receiver="n2", boot=receiver.boot
    )


def refused(call, *args, **options) -> str:
    with pytest.raises(SignatureRefused) as caught:
        call(*args, **options)
    return caught.value.code


def test_a_request_tells_who_sent_it() -> None:
    n1, n2 = signer("n1"), signer("n2")
    header, sent = request(n1, n2)
    assert n2.verify_request("POST", PATH, header, BODY) == sent
    assert sent.sender == N1


@pytest.mark.parametrize("header", ["", "Basic YTpi", "Raft 1 n1", "Raft 1 " + "x " * 9 + "y"])
def test_unsigned(header: str) -> None:
    assert refused(signer("n2").verify_request, "POST", PATH, header, BODY) == "unsigned"


def test_a_mac_left_out_is_no_signature() -> None:
    n1, n2 = signer("n1"), signer("n2")
    header, _ = request(n1, n2)
    stripped = header.rpartition(" ")[0] + " -"
    assert refused(n2.verify_request, "POST", PATH, stripped, BODY) == "unsigned"


def test_replayed() -> None:
    n1, n2 = signer("n1"), signer("n2")
    header, _ = request(n1, n2)
    n2.verify_request("POST", PATH, header, BODY)
    assert refused(n2.verify_request, "POST", PATH, header, BODY) == "replayed"


def test_overtaking_is_no_replay() -> None:
    n1, n2 = signer("n1"), signer("n2")
    headers = [request(n1, n2)[0] for _ in range(5)]
    for header in (headers[2], headers[0], headers[4], headers[1], headers[3]):
        n2.verify_request("POST", PATH, header, BODY)
    for header in headers:
        assert refused(n2.verify_request, "POST", PATH, header, BODY) == "replayed"


def test_other_path_method_body_or_group() -> None:
    n1, n2 = signer("n1"), signer("n2")
    header, _ = request(n1, n2)
    bad = "bad_signature"
    assert refused(n2.verify_request, "GET", PATH, header, BODY) == bad
    assert refused(n2.verify_request, "POST", PATH + "/", header, BODY) == bad
    assert refused(n2.verify_request, "POST", PATH, header, BODY + b"!") == bad
    other = signer("n2", group="other")
    other.boot = n2.boot
    assert refused(other.verify_request, "POST", PATH, header, BODY) == bad


@pytest.mark.parametrize("field", range(2, 12))
def test_every_field_of_the_header_is_signed(field: int) -> None:
    n1, n2 = signer("n1"), signer("n2")
    parts = request(n1, n2)[0].split(" ")
    parts[field] = {2: "n9", 3: "n9", 10: "77"}.get(field, "00" * 16)
    code = refused(n2.verify_request, "POST", PATH, " ".join(parts), BODY)
    assert code == ("wrong_receiver" if field == 3 else "bad_signature")


def test_another_secret() -> None:
    n1, n2 = signer("n1", "theirs"), signer("n2", "ours")
    header, _ = request(n1, n2)
    assert refused(n2.verify_request, "POST", PATH, header, BODY) == "bad_signature"


def test_secret_on_one_side_only() -> None:
    with_one, without = signer("n1"), signer("n2", "")
    header, _ = request(with_one, without)
    assert refused(without.verify_request, "POST", PATH, header, BODY) == "no_secret"
    with_one, without = signer("n2"), signer("n1", "")
    header, _ = request(without, with_one)
    assert refused(with_one.verify_request, "POST", PATH, header, BODY) == "unsigned"


def test_without_secrets_headers_travel_unsigned() -> None:
    n1, n2 = signer("n1", ""), signer("n2", "")
    header, sent = request(n1, n2)
    assert header.endswith(" -")
    assert n2.verify_request("POST", PATH, header, BODY) == sent


def test_a_fallback_verifies_but_never_signs() -> None:
    old, changing, new = signer("n1", "old"), signer("n2", "new", "old"), signer("n1", "new")
    header, sent = request(old, changing)
    assert changing.verify_request("POST", PATH, header, BODY) == sent
    answer = changing.sign_response(200, PATH, b"", request=sent, sender=N2)
    assert refused(old.verify_response, 200, PATH, answer, b"", request=sent) == "bad_signature"
    header, sent = request(new, changing)
    changing.verify_request("POST", PATH, header, BODY)
    answer = changing.sign_response(200, PATH, b"", request=sent, sender=N2)
    assert new.verify_response(200, PATH, answer, b"", request=sent).sender == N2


def test_a_request_made_for_an_earlier_life_is_stale() -> None:
    n1, before, after = signer("n1"), signer("n2"), signer("n2")
    header, _ = request(n1, before)
    with pytest.raises(StaleBoot):
        after.verify_request("POST", PATH, header, BODY)
    header, _ = request(n1, after)
    after.verify_request("POST", PATH, header, BODY)


def test_a_forged_stale_request_learns_nothing() -> None:
    n1, n2 = signer("n1", "theirs"), signer("n2")
    header, _ = n1.sign_request("POST", PATH, BODY, sender=N1, receiver="n2", boot=b"")
    assert refused(n2.verify_request, "POST", PATH, header, BODY) == "bad_signature"


def test_a_restarted_sender_begins_a_window_and_its_old_one_stays_shut() -> None:
    before, after, n2 = signer("n1"), signer("n1"), signer("n2")
    old, _ = request(before, n2)
    n2.verify_request("POST", PATH, old, BODY)
    n2.verify_request("POST", PATH, request(after, n2)[0], BODY)
    assert refused(n2.verify_request, "POST", PATH, old, BODY) == "replayed"


def test_no_window_is_ever_forgotten_while_its_requests_could_be_replayed() -> None:
    n2 = signer("n2")
    first, _ = request(signer("n1"), n2)
    n2.verify_request("POST", PATH, first, BODY)
    for _ in range(BOOTS_MAX - 1):
        n2.verify_request("POST", PATH, request(signer("n1"), n2)[0], BODY)
    with pytest.raises(StaleBoot):
        n2.verify_request("POST", PATH, request(signer("n1"), n2)[0], BODY)
    with pytest.raises(StaleBoot):
        n2.verify_request("POST", PATH, first, BODY)
    n2.verify_request("POST", PATH, request(signer("n1"), n2)[0], BODY)


def answered(n1: Signer, n2: Signer, *, standing: Standing = N2):
    _, sent = request(n1, n2)
    return sent, n2.sign_response(200, PATH, b"reply", request=sent, sender=standing)


def test_an_answer_belongs_to_its_request() -> None:
    n1, n2 = signer("n1"), signer("n2")
    sent, answer = answered(n1, n2)
    assert n1.verify_response(200, PATH, answer, b"reply", request=sent).boot == n2.boot
    other, _ = answered(n1, n2)
    assert refused(n1.verify_response, 200, PATH, answer, b"reply", request=other) == "wrong_answer"


def test_a_spoofed_answer() -> None:
    n1, n2 = signer("n1"), signer("n2")
    sent, answer = answered(n1, n2)
    assert refused(n1.verify_response, 403, PATH, answer, b"reply", request=sent) == "bad_signature"
    assert refused(n1.verify_response, 200, PATH, answer, b"other", request=sent) == "bad_signature"
    sent, answer = answered(n1, signer("n2", "theirs"))
    assert refused(n1.verify_response, 200, PATH, answer, b"reply", request=sent) == "bad_signature"
    sent, answer = answered(n1, signer("n3"), standing=replace(N2, node_id="n3"))
    assert refused(n1.verify_response, 200, PATH, answer, b"reply", request=sent) == "wrong_answer"


def test_a_request_is_no_answer() -> None:
    n1, n2 = signer("n1"), signer("n2")
    _, sent = request(n1, n2)
    echoed, _ = n2.sign_request("POST", PATH, b"reply", sender=N2, receiver="n1", boot=n1.boot)
    assert refused(n1.verify_response, 200, PATH, echoed, b"reply", request=sent) == "bad_signature"


def test_an_answer_to_an_earlier_life_of_the_asker() -> None:
    before, after, n2 = signer("n1"), signer("n1"), signer("n2")
    _, sent_before = request(before, n2)
    _, sent_after = request(after, n2)
    assert sent_before.counter == sent_after.counter
    answer = n2.sign_response(200, PATH, b"", request=sent_before, sender=N2)
    assert (
        refused(after.verify_response, 200, PATH, answer, b"", request=sent_after) == "wrong_answer"
    )


def test_names_that_need_quoting() -> None:
    odd = Standing("n 1\n", incarnation=b"i")
    n1, n2 = signer("n 1\n"), signer("n2")
    header, sent = request(n1, n2, standing=odd)
    assert "\n" not in header
    assert n2.verify_request("POST", PATH, header, BODY).sender == odd == sent.sender


def test_window() -> None:
    window = ReplayWindow()
    assert window.accept(5)
    assert not window.accept(5)
    assert window.accept(3)
    assert not window.accept(3)
    assert window.accept(5 + WINDOW - 1)
    assert not window.accept(5), "the edge of the window still remembers"
    assert window.accept(6), "and still tells apart"
    assert window.accept(10 * WINDOW)
    assert not window.accept(9 * WINDOW), "what fell out of the window is too old to tell"
