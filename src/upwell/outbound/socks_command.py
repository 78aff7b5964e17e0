"""A program between a child and its SOCKS server: `socks_command.py HOST PORT`.

For ssh's ProxyCommand and git's core.gitProxy, which take a program. It is run by its path, alone
with the standard library, and finds the server in SOCKS_VARIABLE: `host:port`, or
`secret@host:port`; the host is an address of IPv4.

It imports no module that is written in Python: each connection would wait for them to load.
"""

import _socket
import _thread
import os
import sys

SOCKS_VARIABLE = "UPWELL_SOCKS"
_CHUNK = 64 * 1024
_CONNECT_SECONDS = 60
_CONNECT = b"\x05\x01\x00\x03"
_REFUSED = 2


def _connected(host: bytes, port: int) -> _socket.socket:
    secret, _, place = os.environ[SOCKS_VARIABLE].rpartition("@")
    address, _, number = place.rpartition(":")
    made = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    made.settimeout(_CONNECT_SECONDS)
    made.connect((address, int(number)))
    made.sendall(b"\x05\x01\x02" if secret else b"\x05\x01\x00")
    _exactly(made, 2)
    if secret:
        made.sendall(b"\x01\x00" + bytes((len(secret),)) + secret.encode())
        _exactly(made, 2)
    made.sendall(_CONNECT + bytes((len(host),)) + host + port.to_bytes(2))
    code = _exactly(made, 10)[1]
    if code:
        why = "is refused" if code == _REFUSED else "cannot be reached"
        sys.exit(f"{host.decode(errors='replace')}:{port} {why}")
    made.settimeout(None)
    return made


def _exactly(made: _socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        piece = made.recv(count - len(found))
        if not piece:
            sys.exit("the connection ended at once")
        found += piece
    return found


def _send(made: _socket.socket) -> None:
    while piece := os.read(0, _CHUNK):
        made.sendall(piece)
    made.shutdown(_socket.SHUT_WR)


def _main() -> None:
    made = _connected(sys.argv[1].encode(), int(sys.argv[2]))
    _thread.start_new_thread(_send, (made,))
    while piece := made.recv(_CHUNK):
        sent = 0
        while sent < len(piece):
            sent += os.write(1, piece[sent:])


if __name__ == "__main__":
    _main()
