// Verifies the delivery on standard input with the `svix` package.

import { verifyWith } from "./verdict.mjs";

verifyWith("svix");
