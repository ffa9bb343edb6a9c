#!/usr/bin/env python3
"""fake_metadata.py FOLDER - a cloud's metadata service on a free port of the loopback, for tests.

It answers out of files in FOLDER, read anew at each request, so that a shell script can change
the weather with echo:

  cloud        aws, gcp or azure: the paths of the others do not exist
  action       AWS: body of spot/instance-action; missing: 404, as in quiet times
  rebalance    AWS: body of events/recommendations/rebalance; missing: 404
  preempted    GCP: TRUE or FALSE (missing: FALSE)
  maintenance  GCP: a value of instance/maintenance-event (missing: NONE)
  events       Azure: body of scheduledevents (missing: no events)
  name         Azure: the name of the virtual machine (missing: vm_1)
  trouble      slow | 401 | 404 | 500 | garbage | huge | close | redirect: what goes wrong;
               old-token: every token is refused until a new one is asked for
  skew         seconds that its clock is ahead of this machine's

Out: FOLDER/port once it listens, FOLDER/requests, a line each request.
"""
import hashlib
import os
import sys
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

FOLDER = sys.argv[1]
SLOW_S = 30
TOKENS = set()
LOCK = threading.Lock()


def read(name, missing=None):
    try:
        with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return missing


def etag(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def date_time_string(self, timestamp=None):
        return formatdate(time.time() + float(read("skew", "0")), usegmt=True)

    def log_message(self, *_):
        pass

    def answer(self, status, body="", headers=()):
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def in_trouble(self):
        trouble = read("trouble", "").strip()
        if trouble in ("401", "404", "500"):
            self.answer(int(trouble), "no")
        elif trouble == "slow":
            time.sleep(SLOW_S)
            self.answer(200, "")
        elif trouble == "garbage":
            self.answer(200, "<html>please sign in</html>")
        elif trouble == "huge":
            self.answer(200, "x" * 1000000)
        elif trouble == "redirect":
            self.answer(302, "", [("Location", "http://192.0.2.1/")])
        elif trouble == "close":
            self.close_connection = True
        else:
            return trouble == "old-token" and self.refuse_old_tokens()
        return True

    def refuse_old_tokens(self):
        with LOCK:
            if not read("refused"):
                TOKENS.clear()
                with open(os.path.join(FOLDER, "refused"), "w", encoding="utf-8") as file:
                    file.write("yes")
        return False

    def begin(self):
        with LOCK, open(os.path.join(FOLDER, "requests"), "a", encoding="utf-8") as file:
            file.write(f"{time.time():.3f} {self.command} {self.path}\n")
        return self.in_trouble()

    def do_PUT(self):
        if self.begin():
            return
        if read("cloud").strip() != "aws" or self.path != "/latest/api/token":
            self.answer(404)
            return
        if not self.headers.get("X-aws-ec2-metadata-token-ttl-seconds"):
            self.answer(400)
            return
        with LOCK:
            token = f"TOKEN{len(TOKENS)}{time.time_ns()}=="
            TOKENS.add(token)
        self.answer(200, token)

    def do_GET(self):
        if self.begin():
            return
        url = urlparse(self.path)
        {"aws": self.aws, "gcp": self.gcp, "azure": self.azure}[read("cloud").strip()](
            url.path, parse_qs(url.query))

    def file_or_404(self, name):
        body = read(name)
        self.answer(404 if body is None else 200, body or "")

    def aws(self, path, _):
        if self.headers.get("X-aws-ec2-metadata-token") not in TOKENS:
            self.answer(401)
        elif path == "/latest/meta-data/spot/instance-action":
            self.file_or_404("action")
        elif path == "/latest/meta-data/events/recommendations/rebalance":
            self.file_or_404("rebalance")
        else:
            self.answer(404)

    def gcp(self, path, query):
        if self.headers.get("Metadata-Flavor") != "Google":
            self.answer(403)
            return
        name = path.removeprefix("/computeMetadata/v1/instance/")
        files = {"preempted": ("preempted", "FALSE"), "maintenance-event": ("maintenance", "NONE")}
        if name not in files:
            self.answer(404)
            return
        text = read(*files[name]).strip()
        deadline = time.time() + float(query.get("timeout_sec", ["60"])[0])
        if "wait_for_change" in query:
            while etag(text) == query["last_etag"][0] and time.time() < deadline:
                time.sleep(0.05)
                text = read(*files[name]).strip()
        self.answer(200, text, [("Metadata-Flavor", "Google"), ("ETag", etag(text))])

    def azure(self, path, _):
        if self.headers.get("Metadata") != "true":
            self.answer(400)
        elif path == "/metadata/instance/compute/name":
            self.answer(200, read("name", "vm_1").strip())
        elif path == "/metadata/scheduledevents":
            self.answer(200, read("events", '{"DocumentIncarnation":1,"Events":[]}'))
        else:
            self.answer(404)


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
with open(os.path.join(FOLDER, "port.part"), "w", encoding="utf-8") as out:
    out.write(str(server.server_port))
os.rename(os.path.join(FOLDER, "port.part"), os.path.join(FOLDER, "port"))
server.serve_forever()
