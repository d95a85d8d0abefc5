"""Verifies the deliveries on standard input with the `svix` package."""

import verdict
from svix.webhooks import Webhook, WebhookVerificationError


def judge(secret, headers, body):
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError as error:
        return "bad_signature", {"error": str(error)}
    return "accepted", {}


verdict.of_each(judge)
