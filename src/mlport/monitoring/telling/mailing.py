"""Alerts as e-mail, over SMTP in the clear, after STARTTLS, or over TLS from the start."""

from __future__ import annotations

import ipaddress
import smtplib
import ssl
from dataclasses import dataclass
from email.errors import MessageError
from email.message import EmailMessage
from email.utils import format_datetime
from urllib.parse import unquote

from mlport.errors import AuthenticationError, ConfigError, InvalidRequestError, MlportError, UnavailableError
from mlport.monitoring.specs import Alert
from mlport.monitoring.telling.alerting import ATTEMPTS, SECONDS, TRUST, Filled, Sleep, addressee, untrusted
from mlport.monitoring.telling.messages import Message
from mlport.waiting import retry

PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
FORM = "such as smtps://user:${PASSWORD}@mail.example, or smtp+starttls://..., or smtp://... without a login"


@dataclass(frozen=True, repr=False)
class Server:
    """Where to hand mail in."""

    scheme: str
    host: str
    port: int
    user: str
    password: str


def mail(alert: Alert, said: Message, sleep: Sleep) -> None:
    """Hand it in, and return once the server has taken it for every address."""
    where = f"the alert to {addressee(alert)}"
    fill = Filled(where, [])
    server = server_of(alert.server or "", where, fill)
    letter = written(alert, said, where, fill)
    retry(lambda: _once(where, server, letter, fill), attempts=ATTEMPTS, sleep=sleep)


def written(alert: Alert, said: Message, where: str, fill: Filled) -> EmailMessage:
    """The letter; the same bytes however often it is sent."""
    letter = EmailMessage()
    try:
        letter["From"] = fill(alert.sender or "")
        letter["To"] = ", ".join(fill(each) for each in alert.addresses)
        senders, addressed = (letter[name].addresses for name in ("From", "To"))
        fine = len(senders) == 1 and all(each.username and each.domain for each in (*senders, *addressed))
    except (ValueError, MessageError, IndexError):
        fine = False
    if not fine:
        raise ConfigError(f"{where}: sender or addresses are no addresses of e-mail", hint="such as ann@example.org")
    letter["Subject"] = said.title
    letter["Date"] = format_datetime(said.at)
    letter["Message-ID"] = f"<{said.id}@{senders[0].domain}>"
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(f"{said.text}\n\n{said.event} {said.id}\n")
    return letter


def server_of(text: str, where: str, fill: Filled) -> Server:
    """The server that an address names. Its parts are filled in one by one: a password may hold any letter.

    Raises:
        ConfigError: it has another form, or would send a password in the clear.
    """
    scheme, mark, rest = (text if "://" in text else fill(text)).partition("://")
    login, _, place = rest.rstrip("/").rpartition("@")
    user, _, password = (fill(unquote(part)) for part in login.partition(":"))
    fill.secrets.extend(part for part in (password,) if part)
    host, _, port = fill(place).partition(":")
    if not mark or scheme not in PORTS or not host or (port and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise ConfigError(f"{where}: server is no address of a mail server", hint=FORM)
    if user and scheme == "smtp" and not _here(host):
        raise ConfigError(f"{where}: smtp:// would send the password in the clear", hint="smtp+starttls:// or smtps://")
    return Server(scheme, host, int(port or PORTS[scheme]), user, password)


def _here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _once(where: str, server: Server, letter: EmailMessage, fill: Filled) -> None:
    try:
        refused = _handed_in(server, letter)
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise _failure(where, error, fill) from None
    if refused:
        told = "; ".join(f"{address}: {_words(*answer, fill)}" for address, answer in refused.items())
        raise InvalidRequestError(f"{where}: the server took it for others, but not for {told}", hint="check these addresses")


def _handed_in(server: Server, letter: EmailMessage) -> dict[str, tuple[int, bytes]]:
    trust = ssl.create_default_context()
    with (
        smtplib.SMTP_SSL(server.host, server.port, timeout=SECONDS, context=trust)
        if server.scheme == "smtps"
        else smtplib.SMTP(server.host, server.port, timeout=SECONDS)
    ) as link:
        if server.scheme == "smtp+starttls":
            link.starttls(context=trust)
        if server.user:
            link.login(server.user, server.password)
        return link.send_message(letter)


def _failure(where: str, error: Exception, fill: Filled) -> MlportError:
    """What went wrong, by the reply's code: 4xx passes, 5xx does not (RFC 5321, 4.2.1)."""
    if untrusted(error):
        return ConfigError(f"{where}: the mail server's certificate is not trusted", hint=TRUST)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return InvalidRequestError(f"{where}: the mail server has no STARTTLS, no login, or no such letters in addresses", hint=FORM)
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code = max(answer[0] for answer in error.recipients.values())
        told = "; ".join(f"{address}: {_words(*answer, fill)}" for address, answer in error.recipients.items())
        return _by_code(code, f"{where}: the mail server takes it for nobody: {told}", "check the addresses")
    if isinstance(error, smtplib.SMTPAuthenticationError) and error.smtp_code >= 500:
        return AuthenticationError(f"{where}: the mail server does not accept the login", hint="check user and password in server")
    if isinstance(error, smtplib.SMTPResponseException):
        words = _words(error.smtp_code, error.smtp_error, fill)
        return _by_code(error.smtp_code, f"{where}: the mail server answered {words}", "check sender and server")
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return ConfigError(f"{where}: sender, addresses or login hold letters that SMTP does not allow", hint="letters of ASCII")
    return UnavailableError(f"{where}: the mail server did not answer: {fill.hide(str(error))}", hint="check server and the network")


def _by_code(code: int, told: str, hint: str) -> MlportError:
    return (InvalidRequestError if code >= 500 else UnavailableError)(told, hint=hint, native_code=str(code))


def _words(code: int, said: bytes | str, fill: Filled) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return f"{code} {fill.hide(text)}"[:300]
