"""Verifies the delivery on standard input with the `svix` package."""

import verdict
from svix.webhooks import Webhook, WebhookVerificationError

secret, headers, body = verdict.read()
try:
    Webhook(secret).verify(body, headers)
except WebhookVerificationError as error:
    verdict.say("bad_signature", error=str(error))
else:
    verdict.say("accepted")
