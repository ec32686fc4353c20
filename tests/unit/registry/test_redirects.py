"""What goes along to where a server sends us, and what a silent one becomes. Answers are scripted: no network."""

import socket
import ssl
from collections.abc import Mapping

import httpx
import pytest

from wardian.errors import Unavailable, WardianError
from wardian.registry.transport import Transport

Answer = httpx.Response | httpx.HTTPError
SECRET = {"Authorization": "Basic c2VjcmV0", "Accept": "x"}


class Scripted(Transport):
    """A transport whose servers answer from a table: address → answers, the last one again and again."""

    def __init__(self, answers: Mapping[str, list[Answer]]) -> None:
        super().__init__({}, sleep=lambda _: None)
        self.asked: list[httpx.Request] = []
        self._answers = {address: list(given) for address, given in answers.items()}

    def _client(self, url: str) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        waiting = self._answers[str(request.url)]
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, httpx.HTTPError):
            raise answer
        return answer


def moved(place: str) -> httpx.Response:
    return httpx.Response(307, headers={"location": place})


def test_credentials_stay_with_the_host_and_do_not_come_back() -> None:
    """Who was led away once may be led back by a stranger."""
    transport = Scripted(
        {
            "https://a.example/1": [moved("/2")],
            "https://a.example/2": [moved("https://b.example/3")],
            "https://b.example/3": [moved("https://a.example/4")],
            "https://a.example/4": [httpx.Response(200)],
        }
    )
    assert transport.get("https://a.example/1", SECRET).status_code == 200
    assert ["authorization" in request.headers for request in transport.asked] == [True, True, False, False]
    assert {request.headers["accept"] for request in transport.asked} == {"x"}


@pytest.mark.parametrize("place", ["https://a.example:444/", "https://a.example.evil/", "https://me:x@a.example/"])
def test_another_port_or_name_is_another_host(place: str) -> None:
    transport = Scripted({"https://a.example/1": [moved(place)], place: [httpx.Response(200)]})
    transport.get("https://a.example/1", SECRET)
    assert transport.asked[-1].headers.get("authorization") != SECRET["Authorization"]


@pytest.mark.parametrize("place", ["http://a.example/2", "ftp://a.example/2", "file:///etc/passwd", "//"])
def test_nobody_leads_from_tls_to_less(place: str) -> None:
    transport = Scripted({"https://a.example/1": [moved(place)]})
    with pytest.raises(WardianError, match=r"not safe|cannot be|in circles"):
        transport.get("https://a.example/1", SECRET)
    assert {request.url.scheme for request in transport.asked} == {"https"}


def test_a_redirect_without_a_place_is_an_answer() -> None:
    assert Scripted({"https://a.example/1": [httpx.Response(302)]}).get("https://a.example/1", {}).status_code == 302


def caused(by: BaseException) -> httpx.ConnectError:
    error = httpx.ConnectError(str(by))
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("failure", "said", "attempts"),
    [
        (caused(socket.gaierror(-2, "Name or service not known")), r"the name a\.example cannot be resolved", 1),
        (caused(ssl.SSLError(1, "[SSL] wrong version number (_ssl.c:1)")), r"no trusted TLS connection .* number$", 1),
        (httpx.ConnectError("[Errno 111] Connection refused"), r"cannot be reached: .*refused", 1),
        (httpx.ConnectTimeout("timed out"), "did not answer in time", 5),
        (httpx.ReadError("reset"), "cut the connection: reset", 5),
        (httpx.ProxyError("407 Proxy Authentication Required"), "the proxy refused the way to a", 1),
    ],
)
def test_a_server_that_does_not_answer_is_named(failure: httpx.HTTPError, said: str, attempts: int) -> None:
    transport = Scripted({"https://a.example/": [failure]})
    with pytest.raises(Unavailable, match=said):
        transport.get("https://a.example/", {})
    assert len(transport.asked) == attempts


def test_a_form_is_sent_once() -> None:
    transport = Scripted({"https://a.example/": [httpx.ReadError("reset")]})
    with pytest.raises(Unavailable, match="cut the connection"):
        transport.post("https://a.example/", {"refresh_token": "secret"})
    assert len(transport.asked) == 1


@pytest.mark.parametrize(
    ("answer", "plain"),
    [
        (httpx.Response(401), True),
        (httpx.Response(400, text="Client sent an HTTP request to an HTTPS server."), False),
        (httpx.RemoteProtocolError("hung up"), False),
    ],
)
def test_a_registry_on_this_machine_is_asked_what_it_speaks(answer: Answer, plain: bool) -> None:
    assert Scripted({"http://localhost/v2/": [answer]}).speaks_http("http://localhost/v2/") is plain


def test_a_registry_on_this_machine_that_is_not_there_is_named() -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        Scripted({"http://localhost/v2/": [httpx.ConnectError("refused")]}).speaks_http("http://localhost/v2/")
