// Verifies the deliveries on standard input with the `standardwebhooks` package.

import { verifyWith } from "./verdict.mjs";

verifyWith("standardwebhooks");
