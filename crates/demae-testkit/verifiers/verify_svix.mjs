// Verifies the deliveries on standard input with the `svix` package.

import { verifyWith } from "./verdict.mjs";

verifyWith("svix");
