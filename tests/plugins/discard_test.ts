import { deepStrictEqual as deepEqual, match, rejects, strictEqual as equal } from "node:assert/strict";
import discard from "../../plugins/discard.ts";
import { address, call, message, setUp, target } from "./harness.ts";

const claim = { verdict: "accept", claim: { via: { transport: "discard" } } };

Deno.test("without options every address is claimed, and the log says so", async () => {
  const rig = await setUp(discard, {});
  deepEqual(await rig.handlers.resolve!(address("anyone@anywhere.example"), call()), claim);
  match(rig.log[0]!.text, /thrown away/);
  deepEqual(rig.owned, []);
});

Deno.test("listed domains only, which are then ours", async () => {
  const rig = await setUp(discard, { domains: ["Void.example"] });
  deepEqual(rig.owned, ["void.example"]);
  deepEqual(await rig.handlers.resolve!(address("a@void.example"), call()), claim);
  equal(await rig.handlers.resolve!(address("a@notvoid.example"), call()), undefined);
  await rejects(setUp(discard, { domains: ["no domain"] }), /not a domain such as/);
});

Deno.test("a delivery succeeds at once, inline", async () => {
  const rig = await setUp(discard, {});
  const { deliver, inline } = rig.transports.get("discard")!;
  equal(inline, true);
  deepEqual(await deliver(message("x\r\n"), [target("a@b.example")], call()), {
    verdict: "delivered",
    text: "discarded",
  });
});
