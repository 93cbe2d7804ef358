/** The same dialogs with other people's servers: docs/differences.md explains where ours says otherwise than most. */
import { deepStrictEqual as deepEqual } from "node:assert/strict";
import { join } from "node:path";
import { compare, differencesOf, ourRows, reasonFor } from "./differences.ts";
import { root } from "./server.ts";

Deno.test("D02 P02 C07 A06 beside Postfix, Exim, OpenSMTPD and aiosmtpd: every difference is explained, and the page says what ours says", async () => {
  const comparison = await compare();
  deepEqual(differencesOf(comparison).filter((one) => !reasonFor(one)), [], "run deno task differences");
  // The other servers' columns are as of one day; the first one holds.
  const page = (await Deno.readTextFile(join(root, "docs/differences.md"))).replaceAll(/ +/g, " ");
  deepEqual(ourRows(comparison).filter((row) => !page.includes(row)), [], "run deno task differences");
});
