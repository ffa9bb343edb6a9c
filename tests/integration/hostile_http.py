#!/usr/bin/env python3
"""hostile_http.py PORT - treats the coordinator's HTTP server badly; each line it prints is one finding."""
import resource
import socket
import sys
import time

PORT = int(sys.argv[1])
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connect(timeout=5):
    s = socket.create_connection(("127.0.0.1", PORT), timeout)
    s.settimeout(timeout)
    return s


def status(data, timeout=5):
    """The status of the answer to these bytes; 0 where the line was cut without one."""
    try:
        with connect(timeout) as s:
            s.sendall(data)
            answer = s.recv(4096)
    except (ConnectionError, socket.timeout):
        return 0
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


def healthy(bound_s):
    """Seconds until a plain request is answered; the bound where it is not."""
    start = time.monotonic()
    while time.monotonic() - start < bound_s:
        if status(GET, 2) == 200:
            return time.monotonic() - start
        time.sleep(0.1)
    return bound_s


def expect(what, ok, found):
    print(("ok" if ok else "FAILED") + f": {what}: {found}", flush=True)
    return ok


good = True
line = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
found = status(line + b"X-Big: " + b"a" * 200000 + b"\r\n\r\n")
good &= expect("a header of 200 kB is refused", found in (0, 400, 413, 431), found)
found = status(line + b"".join(b"X-%d: a\r\n" % i for i in range(5000)) + b"\r\n")
good &= expect("5000 headers are refused", found in (0, 400, 413, 431), found)
found = status(b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
good &= expect("a path of 100 kB is refused", found in (0, 400, 413, 414, 431), found)
found = status(b"\x16\x03\x01\x02\x00" + bytes(range(256)) * 4)
good &= expect("garbage is refused", found in (0, 400), found)
found = status(b"GET /healthz HTTP/1.1\r\n\r\n")
good &= expect("no Host is refused", found in (400, 421), found)
found = status(b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n")
good &= expect("a path upwards is not found", found in (400, 404), found)
found = status(b"GET /api/v1/curve?run=%00%ff&from=%% HTTP/1.1\r\nHost: localhost\r\n\r\n")
good &= expect("odd arguments are refused", found in (400, 404), found)
found = status(b"POST /api/v1/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n")
good &= expect("an endless length is refused", found in (0, 400, 413), found)

# A byte now and then: the line is cut all the same.
slow = connect(30)
start = time.monotonic()
try:
    for byte in (line + b"X-Slow: " + b"a" * 60):
        slow.sendall(bytes([byte]))
        slow.settimeout(0.5)
        try:
            if slow.recv(1) == b"":
                break
        except socket.timeout:
            pass
except ConnectionError:
    pass
took = time.monotonic() - start
good &= expect("a request of one byte in half a second is cut off", 5 < took < 15, f"after {took:.1f} s")
slow.close()

# A crowd that says nothing: those who ask are answered within moments.
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
crowd = []
for _ in range(1000):
    try:
        crowd.append(connect(0.05))
    except OSError:
        pass
found = healthy(15)
good &= expect("answers among 1000 silent connections", found < 10, f"after {found:.1f} s, {len(crowd)} connected")
for s in crowd:
    s.close()
found = healthy(5)
good &= expect("answers after they have left", found < 5, f"after {found:.1f} s")
sys.exit(0 if good else 1)
