"""Verifies the delivery on standard input with the `kaitencloud` package and parses its event.

The type it was parsed into is part of the verdict: an event without a model of its own becomes an
`UnknownWebhookEvent`, and one that does not fit its model is a bad payload.
"""

import verdict
from kaitencloud.webhooks import WebhookPayloadError, WebhookVerificationError, verify_webhook

secret, headers, body = verdict.read()
try:
    event = verify_webhook(body, headers, secret=secret)
except WebhookVerificationError as error:
    verdict.say("bad_signature", error=str(error))
except WebhookPayloadError as error:
    verdict.say("bad_payload", error=str(error))
else:
    verdict.say("accepted", parsed_type=type(event).__name__)
