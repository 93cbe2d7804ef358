/** Peers that are slow on purpose. */
import { deepStrictEqual as deepEqual, ok } from "node:assert/strict";
import { dial } from "../../../server/delivery/smtp/dial.ts";
import { sender, short } from "./kit.ts";

const encode = (text: string) => new TextEncoder().encode(text);

Deno.test("O07 a reply that comes octet by octet has no more time than one that doesn't come", async (t) => {
  for (const [begins, reason] of [["220-", "greeting"], ["220 hello\r\n250-", "hello"]] as const) {
    await t.step(reason, async () => {
      using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const { port } = listener.addr;
      let heard = Promise.withResolvers<void>();
      await using us = sender({
        config: { route: { "*": { host: "127.0.0.1", port, tls: "none" } } },
        async dial(how) {
          const dialled = await dial(how);
          const { channel } = dialled;
          const read = channel.read.bind(channel);
          channel.read = async (...how) => {
            const reading = read(...how);
            await reading.catch(() => {});
            queueMicrotask(() => heard.resolve()); // when it was taken in
            return reading;
          };
          return dialled;
        },
      });
      const sending = us.send("b@example.org");
      using peer = await listener.accept();
      let over = false;
      void sending.then(() => over = true);
      let minutes = 0;
      for (const drop of [begins, ..."patience is all"]) {
        await peer.write(encode(drop)).catch(() => {});
        await Promise.race([heard.promise, sending]);
        if (over) break;
        heard = Promise.withResolvers();
        await us.clock.advance(60_000);
        minutes++;
      }
      ok(over, `after ${minutes} minutes it still waits`);
      deepEqual(short(await sending), [`deferred 4.4.2 ${reason} down`]);
    });
  }
});
