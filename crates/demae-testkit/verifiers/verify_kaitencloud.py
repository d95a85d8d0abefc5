"""Verifies the deliveries on standard input with the `kaitencloud` package and parses their events.

The type it was parsed into is part of the verdict: an event without a model of its own becomes an
`UnknownWebhookEvent`, and one that does not fit its model is a bad payload.
"""

import verdict
from kaitencloud.webhooks import WebhookPayloadError, WebhookVerificationError, verify_webhook


def judge(secret, headers, body):
    try:
        event = verify_webhook(body, headers, secret=secret)
    except WebhookVerificationError as error:
        return "bad_signature", {"error": str(error)}
    except WebhookPayloadError as error:
        return "bad_payload", {"error": str(error)}
    return "accepted", {"parsed_type": type(event).__name__}


verdict.of_each(judge)
