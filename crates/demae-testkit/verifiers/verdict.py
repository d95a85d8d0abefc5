"""What the Python verifiers share: the one JSON document in, the one JSON document out."""

import json
import sys


def of_each(judge):
    """Prints the list of what `judge(secret, headers, body)` says of each delivery in the list on standard input.

    A verdict is `(word, more)`: accepted, bad_signature or bad_payload, and what else there is to say.
    """
    verdicts = []
    for received in json.load(sys.stdin):
        word, more = judge(received["secret"], received["headers"], received["body"].encode())
        verdicts.append({"verdict": word, **more})
    json.dump(verdicts, sys.stdout)
