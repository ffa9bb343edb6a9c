#!/usr/bin/env python3
"""browser.py CHROMIUM URL - drives a headless browser by its debugging pipe, for test_dashboard.sh.

Reads commands from standard input, one a line, and answers each with one line:
  size WIDTH HEIGHT      the window's size in CSS pixels
  eval EXPRESSION        its value as JSON (promises are waited for)
  wait SECONDS EXPRESSION  until it is true; "timeout" where it is not in time
  shot FILE              a screenshot as PNG
  key NAME               a key is pressed: Tab, Enter
  dark | light           what the system prefers
  problems               exceptions of the page, errors of its console, requests to other hosts
Every wait has a bound; the browser ends with this program.
"""
import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time

ANSWER_S = 20


class Browser:
    def __init__(self, program, url):
        self.home = tempfile.mkdtemp(prefix="brigade-browser.")
        self.url, self.next_id, self.pending, self.problems = url, 0, b"", []
        to_read, to_write = os.pipe()
        from_read, from_write = os.pipe()

        def descriptors():  # the browser reads commands from 3 and writes answers to 4
            a, b = os.dup(to_read), os.dup(from_write)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
             "--disable-dev-shm-usage", "--remote-debugging-pipe", "--user-data-dir=" + self.home,
             "--disable-background-networking", "--disable-component-update", "about:blank"],
            preexec_fn=descriptors, close_fds=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(from_write)
        self.out, self.into, self.session = to_write, from_read, None
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t for t in targets if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(domain + ".enable")

    def read(self, deadline):
        while b"\0" not in self.pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.into], [], [], left)[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self.into, 1 << 20)
            if not part:
                raise EOFError("the browser has ended")
            self.pending += part
        message, self.pending = self.pending.split(b"\0", 1)
        return json.loads(message)

    def notice(self, message):
        method, p = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            d = p["exceptionDetails"]
            self.problems.append(d.get("exception", {}).get("description", d.get("text", "exception")))
        elif method == "Log.entryAdded" and p["entry"]["level"] == "error":
            self.problems.append(p["entry"]["text"] + " " + p["entry"].get("url", ""))
        elif method == "Network.requestWillBeSent":
            url = p["request"]["url"]
            if not url.startswith((self.url, "data:", "about:", "chrome")):
                self.problems.append("asks another host: " + url)

    def call(self, method, **params):
        self.next_id += 1
        message = {"id": self.next_id, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + ANSWER_S
        while True:
            answer = self.read(deadline)
            if answer.get("id") == self.next_id:
                if "error" in answer:
                    raise RuntimeError(answer["error"]["message"])
                return answer.get("result", {})
            self.notice(answer)

    def evaluate(self, expression):
        r = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in r:
            raise RuntimeError(r["exceptionDetails"].get("exception", {}).get("description", "exception"))
        return r["result"].get("value")

    def carry_out(self, line):
        word, _, rest = line.partition(" ")
        if word == "size":
            width, height = map(int, rest.split())
            self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                      mobile=width < 500)
        elif word == "open":
            self.call("Page.navigate", url=rest)
        elif word == "eval":
            return json.dumps(self.evaluate(rest))
        elif word == "wait":
            bound, _, expression = rest.partition(" ")
            deadline = time.monotonic() + float(bound)
            while not self.evaluate(expression):
                if time.monotonic() > deadline:
                    return "timeout"
                time.sleep(0.1)
        elif word == "shot":
            data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=False)["data"]
            with open(rest, "wb") as f:
                f.write(base64.b64decode(data))
        elif word == "key":
            codes = {"Tab": 9, "Enter": 13}
            text = {"text": "\r"} if rest == "Enter" else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=rest, code=rest,
                      windowsVirtualKeyCode=codes[rest], **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=rest, code=rest,
                      windowsVirtualKeyCode=codes[rest])
        elif word in ("dark", "light"):
            self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": word}])
        elif word == "problems":
            self.call("Runtime.evaluate", expression="1")  # what came before it has been read then
            return json.dumps(self.problems)
        else:
            raise RuntimeError("no such command: " + word)
        return "ok"

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)


def main():
    browser = Browser(sys.argv[1], sys.argv[2])
    try:
        for line in sys.stdin:
            try:
                print(browser.carry_out(line.strip()), flush=True)
            except RuntimeError as e:
                print("error: " + str(e).split("\n")[0], flush=True)
    finally:
        browser.close()


main()
