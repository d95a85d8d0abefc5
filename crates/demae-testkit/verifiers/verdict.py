"""What the Python verifiers share: the one JSON document in, the one JSON document out."""

import json
import sys


def read():
    """Returns the secret, the headers and the exact body of the delivery on standard input."""
    received = json.load(sys.stdin)
    return received["secret"], received["headers"], received["body"].encode()


def say(verdict, **more):
    """Prints the verdict: accepted, bad_signature or bad_payload."""
    json.dump({"verdict": verdict, **more}, sys.stdout)
