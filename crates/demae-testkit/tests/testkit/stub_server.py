#!/usr/bin/env python3
"""Stands in for `demae` where the test kit itself is tested.

Listens where DEMAE_LISTEN says, is ready at once, counts its starts in DEMAE_DATA_DIR, and describes
two operations in an OpenAPI document: one keeps to it, and one does not.
"""

import http.server
import json
import os
import pathlib
import signal
import sys

OBJECT = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
ANSWER = {"200": {"description": "a number", "content": {"application/json": {"schema": OBJECT}}}}


def document(path):
    return {
        "openapi": "3.1.0",
        "info": {"title": "stub", "version": "1"},
        "paths": {path: {"get": {"operationId": "ask", "responses": ANSWER}}},
    }


ANSWERS = {
    "/readyz": (200, {}),
    "/api/honest": (200, {"n": 1}),
    "/api/lying": (200, {"n": "one"}),
    "/honest.json": (200, document("/honest")),
    "/lying.json": (200, document("/lying")),
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(*ANSWERS.get(self.path, (404, {})))

    def refuse(self):
        self.answer(405, {})

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_TRACE = do_QUERY = refuse

    def answer(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("allow", "GET")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def stop(*_):
    print("stopped in order", flush=True)
    sys.exit(0)


if sys.argv[1] == "refuse":
    sys.exit("the recipe is missing")

starts = pathlib.Path(os.environ["DEMAE_DATA_DIR"], "starts")
starts.parent.mkdir(exist_ok=True)
with starts.open("a") as file:
    file.write(f"{os.environ.get('DEMAE_DISH', 'nothing')}\n")
signal.signal(signal.SIGTERM, stop)
host, port = os.environ["DEMAE_LISTEN"].split(":")
http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
