"""Alerts, sent to real servers: what is told, that it arrives once it can, and that no secret is shown."""

from __future__ import annotations

import json
import logging
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from aids.receiving import Answer, hook, post
from hypothesis import given
from hypothesis import strategies as st

from mlport import errors
from mlport.emulation.authority import Authority
from mlport.monitoring.records import Column, Effect, Judged, Note, Reading, Retraining, Verdict
from mlport.monitoring.specs import EVENTS, Alert, MonitorSpec
from mlport.monitoring.telling.alerting import HEADER, LEVELS, SECTION, addressee, message, send, slack
from mlport.monitoring.telling.messages import Message
from mlport.spi import Window

MAY = Window(datetime(2013, 5, 1, tzinfo=UTC), datetime(2013, 5, 8, tzinfo=UTC))
SPEC = MonitorSpec(endpoint="flights-live", name="flights", reference="winter.parquet")
SECRET = "s3cr3t-T0k3n"
READING = Reading(
    "flights",
    MAY,
    MAY.end,
    "drift",
    "drift",
    "severe",
    "drift, severe, in 4 of 9 columns: temp, dewp, gust, <b> & more",
    12_345,
    (
        Column("temp", "drift", "severe", 0.4, (Effect("ks", 0.61, 0.1, 0.02, True), Effect("missing", 0.0, 0.05, 0.01, False))),
        Column("dewp", "drift", "moderate", 0.1, (Effect("ks", float("inf"), 0.1, None, True),)),
        Column("gust", "drift", "severe", 0.1, (), ("gust: the current sample does not have it",)),
        Column("<b> & more", "drift", "moderate"),
        Column("wind", "no drift"),
    ),
    (Note("corrupt file", "part 7 could not be read", unread=True), Note("range left", "temp: from 3 to 99")),
    {"1": 12_345},
    performance=Judged("roc_auc", "decayed", 12_345, 9_000, MAY.end, 0.64, 0.62, 0.66, 0.72, 0.08, 0.06, 0.1, 0.02),
)
RETRAINING = Retraining(
    "r-1", "flights", MAY.end, "drift", "temp has drifted", ("2013-05-01T00:00:00+00:00",), "refused", MAY, MAY, 900, "job-7",
    verdict=Verdict(False, "roc_auc", 300, MAY, 0.7, 0.71, -0.01, reasons=("it gains -0.01, and 0 is asked for",)), reason="not good enough",
)  # fmt: skip


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """TLS for a server that the client trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    return authority.context("localhost")


def told(event: str = "drift", about: Reading | Retraining = READING) -> Message:
    return message(event, SPEC, about, "laptop")  # type: ignore[arg-type]


def test_a_message_says_what_and_where_and_what_to_do() -> None:
    said = told()
    assert said.title == "flights: drift, severe: temp, dewp, gust and 1 more"
    for words in (
        "endpoint flights-live, profile laptop",
        "Window: 2013-05-01 to 2013-05-08 UTC, 12,345 rows",
        "temp: severe; ks 0.61 above 0.1 (noise 0.02)",
        "gust: severe; gust: the current sample does not have it",
        "Performance: decayed; roc_auc 0.64 (0.62 to 0.66), reference 0.72, worse by 0.08 (0.06 to 0.1); 9,000 of 12,345 rows labelled",
        "Not read: part 7 could not be read",
        "mlport -p laptop monitors readings flights",
    ):
        assert words in said.text
    assert "missing" not in said.text
    document = json.loads(json.dumps(said.document, allow_nan=False))
    assert document["id"] == said.id
    assert document["reading"]["columns"][1]["effects"][0]["value"] == "inf"
    assert document["retraining"] is None


def test_a_retraining_is_told_with_its_gate() -> None:
    said = told("retraining", RETRAINING)
    assert said.title == "flights: retraining r-1 by drift: refused"
    assert "Gate: not passed; roc_auc 0.7, champion 0.71, on 300 rows.\n- it gains -0.01, and 0 is asked for" in said.text
    assert "monitors retrainings flights" in said.text
    assert said.document["retraining"]["verdict"]["gain"] == -0.01


def test_the_id_is_of_what_is_told_and_not_of_when() -> None:
    from dataclasses import replace

    later = replace(READING, at=MAY.end + timedelta(days=3), rows=1)
    assert told(about=later).id == told().id
    others = [
        told("decay"),
        told(about=replace(READING, window=Window(MAY.end, MAY.end + timedelta(days=7)))),
        told("retraining", RETRAINING),
    ]
    others += [told("retraining", replace(RETRAINING, phase="training")), message("drift", SPEC, READING, "cloud")]
    assert len({said.id for said in (told(), *others)}) == 6


@given(st.text(), st.text(), st.text(max_size=20))
def test_any_names_and_words_make_a_title_of_one_line_and_a_text_within_slacks_limits(words: str, error: str, column: str) -> None:
    from dataclasses import replace

    many = tuple(Column(f"{column}{at}&<>" * 9, "drift", "moderate", reasons=(words * 40,)) for at in range(40))
    for event in EVENTS:
        said = told(event, replace(READING, words=words, error=error, columns=many))
        assert said.title.isprintable()
        body = slack(said)
        header, section, _ = body["blocks"]
        assert 0 < len(header["text"]["text"]) <= HEADER
        assert 0 < len(section["text"]["text"]) <= SECTION
        shown = section["text"]["text"]
        for entity in ("&amp;", "&lt;", "&gt;"):
            shown = shown.replace(entity, "")
        assert not {"&", "<", ">"} & set(shown)


def test_the_log_has_a_level_for_each_event(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mlport.monitor"):
        for event in EVENTS:
            send(Alert(), told(event))
    assert [record.levelno for record in caplog.records] == [LEVELS[event] for event in EVENTS]
    assert "temp: severe" in caplog.records[0].getMessage()


def test_a_webhook_gets_the_document_with_its_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    with hook() as server:
        send(Alert(to="webhook", url=f"{server.url}/in?key=${{TOKEN}}", headers={"Authorization": "Bearer ${TOKEN}"}), told())
    ((path, headers, body),) = server.got
    assert path == f"/in?key={SECRET}"
    assert headers["Authorization"] == f"Bearer {SECRET}"
    assert headers["Content-Type"].startswith("application/json")
    assert (headers["Idempotency-Key"], json.loads(body)) == (told().id, told().document)


def test_what_fails_for_now_is_sent_again_with_the_same_id_after_as_long_as_was_asked_for(slept: list[float]) -> None:
    with hook(Answer(503), Answer(429, headers={"Retry-After": "7"}), Answer(0)) as server:
        send(Alert(to="webhook", url=server.url), told(), sleep=slept.append)
    assert len(server.got) == 4
    assert len({headers["Idempotency-Key"] for _, headers, _ in server.got}) == 1
    assert slept[1] == 7
    assert max(slept[0], slept[2]) < 7


def test_it_gives_up_and_says_so(slept: list[float]) -> None:
    with hook(*[Answer(502, b"<html>bad gateway</html>")] * 9) as server, pytest.raises(errors.UnavailableError, match="502: <html>bad"):
        send(Alert(to="webhook", url=server.url), told(), sleep=slept.append)
    assert len(server.got) == len(slept) + 1 == 4
    with pytest.raises(errors.UnavailableError, match="nobody answered"):
        send(Alert(to="webhook", url=server.url), told(), sleep=slept.append)


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, errors.InvalidRequestError), (401, errors.AuthenticationError), (403, errors.PermissionDeniedError),
     (404, errors.InvalidRequestError), (410, errors.InvalidRequestError), (302, errors.InvalidRequestError),
     (307, errors.InvalidRequestError)],
)  # fmt: skip
def test_what_would_fail_again_is_sent_once_and_no_redirect_is_followed(status: int, error: type[errors.MlportError]) -> None:
    with (
        hook() as elsewhere,
        hook(Answer(status, b"no_service", {"Location": f"{elsewhere.url}/there"})) as server,
        pytest.raises(error, match=rf"answered {status}: no_service") as raised,
    ):
        send(Alert(to="slack", url=server.url), told())
    assert raised.value.hint
    assert len(server.got) == 1
    assert not elsewhere.got


@pytest.mark.parametrize(
    "answers", [[Answer(400, f"{SECRET} at /services/{SECRET} is not known".encode())], [Answer(0)] * 9, [Answer(401, SECRET.encode())]]
)
def test_no_secret_in_errors_or_logs(
    answers: list[Answer], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, slept: list[float]
) -> None:
    with hook(*answers) as server, caplog.at_level(logging.DEBUG):
        monkeypatch.setenv("HOOK", f"{server.url}/services/{SECRET}")
        with pytest.raises(errors.MlportError) as raised:
            send(Alert(to="slack", url="${HOOK}"), told(), sleep=slept.append)
    assert "${HOOK}" in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert SECRET not in f"{raised.value!r} {raised.value} {raised.value.to_json()} {caplog.text}"
    assert SECRET in server.got[0][0]


def test_slack_gets_its_text_and_blocks() -> None:
    with hook() as server:
        send(Alert(to="slack", url=server.url), told())
    body = json.loads(server.got[0][2])
    assert [block["type"] for block in body["blocks"]] == ["header", "section", "context"]
    assert "&lt;b&gt; &amp; more" in body["blocks"][1]["text"]["text"]
    assert body["text"].startswith("flights: drift, severe")


def test_https_with_an_authority_that_is_trusted_or_not(trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    with hook(tls=trusted) as server:
        send(Alert(to="webhook", url=server.url), told())
        assert len(server.got) == 1
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(errors.ConfigError, match="certificate is not trusted") as raised:
            send(Alert(to="webhook", url=server.url), told())
    assert "SSL_CERT_FILE" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("alert", "words"),
    [
        (Alert(to="slack", url="${NOT_SET}"), "environment variable NOT_SET is not set"),
        (Alert(to="webhook", url="ftp://x/y"), "no address of http"),
        (Alert(to="webhook", url="hooks.example/x"), "no address of http"),
        (Alert(to="webhook", url="http://h:99999/"), "no address of http"),
        (Alert(to="webhook", url="http://[::1/"), "no address of http"),
        (Alert(to="email", addresses=("a@b.c",), sender="d@e.f", server="smtp://localhost:99999"), "no address of a mail server"),
        (Alert(to="webhook", url="http://127.0.0.1:1/a b"), "what HTTP does not allow"),
        (Alert(to="webhook", url="http://127.0.0.1:1/", headers={"A": "b\nC: d"}), "what HTTP does not allow"),
        (Alert(to="email", addresses=("a@b.c",), sender="d@e.f", server="mail.example"), "no address of a mail server"),
        (Alert(to="email", addresses=("a@b.c",), sender="d@e.f", server="smtp://u:p@mail.example"), "in the clear"),
        (Alert(to="email", addresses=("nobody",), sender="d@e.f", server="smtp://localhost"), "no addresses of e-mail"),
        (Alert(to="email", addresses=("a@b.c",), sender="d@e.f\nBcc: x@y.z", server="smtp://localhost"), "no addresses of e-mail"),
    ],
)
def test_an_address_that_cannot_work_is_named(alert: Alert, words: str) -> None:
    with pytest.raises(errors.ConfigError, match=words) as raised:
        send(alert, told())
    assert raised.value.hint


def mail(server: str, *addresses: str) -> Alert:
    return Alert(
        to="email", addresses=addresses or ("ann@example.org", "Bob <bob@example.org>"), sender="mlport <ml@example.org>", server=server
    )


def test_a_letter_arrives_whole() -> None:
    with post() as server:
        send(mail(f"smtp://localhost:{server.port}"), told())
        send(mail(f"smtp://localhost:{server.port}"), told())
    first, again = server.letters
    assert (first.sender, first.addresses) == ("ml@example.org", ["ann@example.org", "bob@example.org"])
    assert first.content["Message-ID"] == again.content["Message-ID"] == f"<{told().id}@example.org>"
    assert first.content["Subject"] == told().title
    assert first.content["Auto-Submitted"] == "auto-generated"
    assert first.content.get_content_type() == "text/plain"
    assert first.content.get_content().replace("\r\n", "\n").startswith(told().text)
    assert not first.encrypted


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
def test_logins_go_over_tls_and_a_password_may_hold_any_letter(
    scheme: str, trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = "p@ss/w:rd%41#?"
    monkeypatch.setenv("PASSWORD", password)
    with post(tls=trusted, from_start=scheme == "smtps", login=("ml@corp", password)) as server:
        send(mail(f"{scheme}://ml%40corp:${{PASSWORD}}@localhost:{server.port}"), told())
        (letter,) = server.letters
        assert (letter.encrypted, letter.login) == (True, ("ml@corp", password))
        monkeypatch.setenv("PASSWORD", SECRET)
        with pytest.raises(errors.AuthenticationError) as raised:
            send(mail(f"{scheme}://ml%40corp:${{PASSWORD}}@localhost:{server.port}"), told())
        assert SECRET not in f"{raised.value}"
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(errors.ConfigError, match="certificate is not trusted"):
            send(mail(f"{scheme}://ml%40corp:${{PASSWORD}}@localhost:{server.port}"), told())


def test_replies_that_pass_are_tried_again_and_those_that_stay_are_not(slept: list[float]) -> None:
    with post(refuse={"MAIL": ["451 try later"], "RCPT TO:<ann": ["450 busy", "450 busy"]}) as server:
        send(mail(f"smtp://localhost:{server.port}", "ann@example.org"), told(), sleep=slept.append)
    assert (len(server.letters), len(slept)) == (1, 3)
    with post(refuse={"MAIL": ["550 not you"]}) as server, pytest.raises(errors.InvalidRequestError, match="550 not you"):
        send(mail(f"smtp://localhost:{server.port}"), told(), sleep=slept.append)
    with (
        post(refuse={"RCPT TO:<bob": ["550 no such user"]}) as server,
        pytest.raises(errors.InvalidRequestError, match=r"bob.*no such user"),
    ):
        send(mail(f"smtp://localhost:{server.port}"), told(), sleep=slept.append)
    assert server.letters[0].addresses == ["ann@example.org"]
    with pytest.raises(errors.UnavailableError, match="did not answer"):
        send(mail(f"smtp://localhost:{server.port}"), told(), sleep=slept.append)
    with post() as server, pytest.raises(errors.InvalidRequestError, match="no STARTTLS"):
        send(mail(f"smtp+starttls://localhost:{server.port}"), told(), sleep=slept.append)
    assert len(slept) == 6


def test_whom_an_alert_tells_can_be_shown() -> None:
    assert addressee(Alert()) == "log"
    assert addressee(mail("smtp://u:p@h")) == "email ann@example.org, Bob <bob@example.org>"
    assert addressee(Alert(to="webhook", url=f"https://u:{SECRET}@h.example:8/{SECRET}")) == "webhook https://h.example:8"
    assert SECRET not in addressee(Alert(to="webhook", url=SECRET))
