"""An OpenAI-compatible server on loopback that answers, throttles, drops connections or talks nonsense, as told."""

import json
import socket
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def answer_of(body):
    """What the stub's model says: a function of the whole request, so that candidates differ."""
    name = body["messages"][0]["content"].rpartition("action ")[2].rstrip(".")
    return f"moving both arms in way {body['seed']} while {name}."


class Stub:
    """An OpenAI-compatible server; `plan(body, n)` says what happens to the n-th request.

    It returns text (an answer), ("refusal", text), ("status", code), "drop", "garbage", "html" or "nothing".
    Attributes: log: (seed, prompt, outcome) of each request; `answered` counts answers that were sent whole.
    """

    def __init__(self, plan):
        self.plan, self.log, self.answered, self.keys = plan, [], Counter(), set()
        self.lock = threading.Lock()


@contextmanager
def serving(plan=lambda body, n: answer_of(body)):
    stub = Stub(plan)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with stub.lock:
                number = len(stub.log)
                outcome = stub.plan(body, number)
                stub.log.append((body["seed"], body["messages"][0]["content"], outcome))
                stub.keys.add(self.headers["Authorization"])
            if outcome == "drop":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            status, kind, content = 200, "application/json", None
            refusal = outcome[1] if isinstance(outcome, tuple) and outcome[0] == "refusal" else None
            if isinstance(outcome, tuple) and not refusal:
                status = outcome[1]
                content = {"error": {"message": f"refused for {self.headers['Authorization']}", "type": "stub"}}
            elif outcome == "garbage":
                content = {"object": "chat.completion", "surprise": True}
            elif outcome == "html":
                kind, content = "text/html", "<html>gateway</html>"
            else:
                text = None if refusal else "" if outcome == "nothing" else outcome
                content = {
                    "id": f"stub-{number}",
                    "object": "chat.completion",
                    "created": 0,
                    "model": "stub-model",
                    "choices": [
                        {
                            "index": 0,
                            "finish_reason": "stop",
                            "message": {"role": "assistant", "content": text, "refusal": refusal},
                        }
                    ],
                    "usage": {"prompt_tokens": 50, "completion_tokens": 20, "total_tokens": 70},
                }
            data = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(data)
            if status == 200 and kind == "application/json" and outcome != "garbage":
                with stub.lock:
                    stub.answered[body["seed"], body["messages"][0]["content"]] += 1

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        stub.url = f"http://127.0.0.1:{http.server_port}/v1"
        try:
            yield stub
        finally:
            http.shutdown()
            thread.join()
