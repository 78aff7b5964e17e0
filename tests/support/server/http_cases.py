"""Requests as the authors of parsers test them (llhttp, h11), restated as cases of RFC 9112.

Each is what follows `POST /a HTTP/1.1` and a Host field, unless it begins with a request line of
its own.
"""

HOST = b"Host: localhost\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def request(rest: bytes, line: bytes = b"POST /a HTTP/1.1") -> bytes:
    return line + b"\r\n" + HOST + rest


def chunked(body: bytes) -> bytes:
    return request(_CHUNKED + body)


SERVED: dict[str, tuple[bytes, tuple[str, str, bytes]]] = {
    "a length with zeroes before": (
        request(b"Content-Length: 003\r\n\r\nabc"),
        ("POST", "/a", b"abc"),
    ),
    "a length between spaces": (
        request(b"Content-Length:   3  \r\n\r\nabc"),
        ("POST", "/a", b"abc"),
    ),
    "a length between tabs": (
        request(b"Content-Length:\t3\t\r\n\r\nabc"),
        ("POST", "/a", b"abc"),
    ),
    "a length in another case": (
        request(b"cOnTeNt-lEnGtH: 3\r\n\r\nabc"),
        ("POST", "/a", b"abc"),
    ),
    "a body of a GET": (
        request(b"Content-Length: 3\r\n\r\nabc", b"GET /a HTTP/1.1"),
        ("GET", "/a", b"abc"),
    ),
    "a body of a HEAD": (
        request(b"Content-Length: 1\r\n\r\na", b"HEAD /a HTTP/1.1"),
        ("HEAD", "/a", b"a"),
    ),
    "a body that is no form": (
        request(b"Content-Length: 10\r\n\r\ncccccccccc", b"PATCH /file.txt HTTP/1.1"),
        ("PATCH", "/file.txt", b"c" * 10),
    ),
    "sizes in upper case": (
        chunked(b"A\r\n0123456789\r\n0\r\n\r\n"),
        ("POST", "/a", b"0123456789"),
    ),
    "sizes in lower case": (
        chunked(b"a\r\n0123456789\r\n0\r\n\r\n"),
        ("POST", "/a", b"0123456789"),
    ),
    "three zeroes at the end": (
        chunked(b"5\r\nhello\r\n6\r\n world\r\n000\r\n\r\n"),
        ("POST", "/a", b"hello world"),
    ),
    "extensions with values": (
        chunked(b"5;a;b=c;d=e\r\nhello\r\n0;f\r\n\r\n"),
        ("POST", "/a", b"hello"),
    ),
    "quoted extensions": (
        chunked(b'5;a="I \\"love\\"; \\\\it";b\r\nhello\r\n0\r\n\r\n'),
        ("POST", "/a", b"hello"),
    ),
    "a coding in another case": (
        request(b"Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
        ("POST", "/a", b"a"),
    ),
    "trailers that say nothing of the framing": (
        chunked(b"1\r\na\r\n0\r\nVary: *\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        ("POST", "/a", b"a"),
    ),
    "a body after an upgrade": (
        request(b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc"),
        ("POST", "/a", b"abc"),
    ),
    "chunks after an upgrade": (
        request(b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + _CHUNKED + b"1\r\na\r\n0\r\n\r\n"),
        ("POST", "/a", b"a"),
    ),
    "no body after an upgrade": (
        request(b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n"),
        ("POST", "/a", b""),
    ),
    "an expectation of its own": (
        request(b"Expect: nothing\r\nContent-Length: 1\r\n\r\na"),
        ("POST", "/a", b"a"),
    ),
    "a target with quotes": (
        request(b"\r\n", b'GET /with_"quotes"?a=b"c HTTP/1.1'),
        ("GET", '/with_"quotes"', b""),
    ),
    "a target with a fragment": (request(b"\r\n", b"GET /a#b HTTP/1.1"), ("GET", "/a", b"")),
    "a target with a name and a password": (
        request(b"\r\n", b"GET http://a:b@localhost:1234/a HTTP/1.1"),
        ("GET", "/a", b""),
    ),
    "a question mark in a query": (
        request(b"\r\n", b"GET /a?b=c?d HTTP/1.1"),
        ("GET", "/a", b""),
    ),
    "a method of WebDAV": (request(b"\r\n", b"REPORT /a HTTP/1.1"), ("REPORT", "/a", b"")),
    "a method with a hyphen": (request(b"\r\n", b"M-SEARCH /a HTTP/1.1"), ("M-SEARCH", "/a", b"")),
    "all that a value may be made of": (
        request(b"X: " + bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100)) + b"\r\n\r\n"),
        ("POST", "/a", b""),
    ),
    "an empty value": (request(b"X:\r\nY: \t \r\n\r\n"), ("POST", "/a", b"")),
}
"""Well formed: served as it says, and so is the request behind it."""

REFUSED: dict[str, bytes] = {
    "the same length twice": request(b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na"),
    "no length": request(b"Content-Length:\r\n\r\n"),
    "a length of words": request(b"Content-Length: four\r\n\r\n"),
    "a length in two numbers": request(b"Content-Length: 4 2\r\n\r\n"),
    "a length with a letter behind it": request(b"Content-Length: 4 no\r\n\r\n"),
    "a carriage return for a hyphen": request(b"Content\rLength: 1\r\n\r\na"),
    "a carriage return in a list": request(b"Connection: keep\ralive\r\n\r\n"),
    "half of an empty line": request(b"Content-Length: 3\r\n\rabc"),
    "a line feed before a framing": request(b"X: x\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "a line feed instead of a value": request(b"X:\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "a carriage return instead of a value": request(
        b"X:\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a carriage return before a request": request(
        b"\rZGET /smuggled: HTTP/1.1\r\n" + HOST + b"\r\n"
    ),
    "a line feed before a length": request(b"X: x\nContent-Length: 23\r\n\r\n"),
    "a line that goes on": request(b"Connection: keep-alive,\r\n upgrade\r\n\r\n"),
    "a name that goes on": request(b"name\r\n : value\r\n\r\n"),
    "a name with an at": request(b"Fo@: a\r\n\r\n"),
    "a name with a backslash": request(b"Foo\\: a\r\n\r\n"),
    "a tab before the colon": request(b"Connection\t: upgrade\r\n\r\n"),
    "a form feed in a value": request(b"X: \x0c\r\n\r\n"),
    "a backspace in a value": request(b"X: a\x08\r\n\r\n"),
    "a delete in a value": request(b"X: a\x7f\r\n\r\n"),
    "line feeds alone": b"POST /a HTTP/1.1\nHost: localhost\n\n",
    "a carriage return after the version": b"POST /a HTTP/1.1\rHost: localhost\r\n\r\n",
    "something after the version": request(b"\r\n", b"GET /a HTTP/1.1 xxxxxx"),
    "another protocol": request(b"\r\n", b"GET /a ICE/1.0"),
    "almost the protocol": request(b"\r\n", b"GET /a IHTTP/1.0"),
    "the protocol in lower case": request(b"\r\n", b"GET /a http/1.1"),
    "a version that is not there yet": request(b"\r\n", b"GET /a HTTP/5.6"),
    "a method that begins as another": request(b"\r\n", b"MKCOLA /a HTTP/1.1"),
    "a method of another protocol": request(b"\r\n", b"ANNOUNCE /a HTTP/1.0"),
    "a space in a target": request(b"\r\n", b"GET /foo bar/ HTTP/1.1"),
    "a tab in a target": request(b"\r\n", b"GET /a\tb HTTP/1.1"),
    "a delete in a target": request(b"\r\n", b"GET /a\x7f HTTP/1.1"),
    "Unicode in a target": request(b"\r\n", "GET /δ¶/δt/pope HTTP/1.1".encode()),
    "a name of a machine alone": request(b"\r\n", b"GET localhost HTTP/1.1"),
    "no name in an absolute target": request(b"\r\n", b"GET http:///a HTTP/1.1"),
    "a port that is none": request(b"\r\n", b"GET http://a:99999/b HTTP/1.1"),
    "a coding that is none": request(b"Transfer-Encoding: pigeons\r\n\r\n"),
    "no coding": request(b"Transfer-Encoding:\r\n\r\n"),
    "identity, and a length": request(b"Transfer-Encoding: identity\r\nContent-Length: 1\r\n\r\na"),
    "a length, and no coding, often": request(
        b"Content-Length: 10\r\n" + b"Transfer-Encoding:\r\n" * 3 + b"\r\n2\r\nAA\r\n0"
    ),
    "chunked before another coding": request(
        b"Transfer-Encoding: chunked, deflate\r\n\r\n1\r\na\r\n0\r\n\r\n"
    ),
    "chunked before another field": request(
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: deflate\r\n\r\n1\r\na\r\n0\r\n\r\n"
    ),
    "another coding before chunked": request(
        b"Transfer-Encoding: deflate, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    ),
    "another field before chunked": request(
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    ),
    "chunked with a parameter": request(
        b"Transfer-Encoding: chunked;q=1\r\n\r\n1\r\na\r\n0\r\n\r\n"
    ),
    "a word that ends as chunked": request(
        b"Transfer-Encoding: chunkedchunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    ),
    "a vertical tab before chunked": request(
        b"Transfer-Encoding: \x0bchunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    ),
    "chunked, and a line that goes on": request(
        b"Transfer-Encoding: chunked\r\n abc\r\n\r\n1\r\na\r\n0\r\n\r\n"
    ),
    "extensions without a semicolon": chunked(b"2 erfrferferf\r\naa\r\n0 rrrr\r\n\r\n"),
    "a semicolon without an extension": chunked(b"2;\r\naa\r\n0\r\n\r\n"),
    "a quote that does not end": chunked(b'5;a="b; c\r\nhello\r\n0\r\n\r\n'),
    "a null after a size": chunked(b"1\x00\r\na\r\n0\r\n\r\n"),
    "an underscore in a size": chunked(b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
    "a space before a size": chunked(b" 1\r\na\r\n0\r\n\r\n"),
    "a space after a size": chunked(b"1 \r\na\r\n0\r\n\r\n"),
    "a size of a hundred digits": chunked(b"9" * 100 + b"\r\nxxx"),
    "a carriage return after a size": chunked(b"5\r\r;ABCD\r\n34\r\nE\r\n0\r\n\r\n"),
    "a line feed in an extension": chunked(b"1;a\nb\r\na\r\n0\r\n\r\n"),
    "two bytes of anything after a chunk": chunked(b"3\r\nxxx__1a\r\n0\r\n\r\n"),
    "a carriage return and more after a chunk": chunked(b"3\r\nxxx\r_1a\r\n0\r\n\r\n"),
    "more and a line feed after a chunk": chunked(b"3\r\nxxx_\n1a\r\n0\r\n\r\n"),
    "no last chunk": chunked(b"1\r\na\r\n"),
    "a length in the trailers": chunked(b"1\r\na\r\n0\r\nContent-Length: 30\r\n\r\n"),
    "a coding in the trailers": chunked(b"1\r\na\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
}
"""Not well formed, or of two meanings: nothing that it might hold is served."""
