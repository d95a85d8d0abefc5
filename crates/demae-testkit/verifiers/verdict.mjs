// What the Node verifiers share: the one JSON document in, the one JSON document out.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

// The packages live outside this folder, where the usual look-up would not find them.
const require = createRequire(`${process.env.DEMAE_NODE_PACKAGES}/`);

// Verifies the deliveries on standard input with the package's `Webhook` and prints the list of verdicts.
export function verifyWith(packageName) {
    const { Webhook, WebhookVerificationError } = require(packageName);
    const verdicts = JSON.parse(readFileSync(0, "utf8")).map(({ secret, headers, body }) =>
        judge(() => new Webhook(secret).verify(body, headers), WebhookVerificationError),
    );
    console.log(JSON.stringify(verdicts));
}

function judge(verify, VerificationError) {
    try {
        verify();
        return { verdict: "accepted" };
    } catch (error) {
        if (error instanceof VerificationError) {
            return { verdict: "bad_signature", error: error.message };
        }
        throw error;
    }
}
