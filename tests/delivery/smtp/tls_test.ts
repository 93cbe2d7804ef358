/** TLS towards peers: opportunistic, required, implicit (CASES O05). */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal, throws } from "node:assert/strict";
import type { DialHow } from "../../../server/delivery/smtp/dial.ts";
import { dial } from "../../../server/delivery/smtp/dial.ts";
import { trusting } from "../../../server/delivery/smtp/tls.ts";
import { sender, short } from "./kit.ts";
import { fileOf } from "./certs/files.ts";
import { startPeer, type TestPeer } from "./peer.ts";

const mx = { certificate: "mx.example.test" } as const;
const other = { certificate: "other.example.test" } as const;

/** The MX of `example.org` is `mx.example.test`, which is here. */
function byMx(peer: TestPeer, tls?: "required" | "none") {
  return {
    config: { port: peer.port, allowPrivateAddresses: true, ...(tls && { tls: { "example.org": tls } }) },
    names: {
      "example.org": { MX: [{ preference: 10, host: "mx.example.test" }] },
      "mx.example.test": { A: ["127.0.0.1"] },
    },
  };
}

Deno.test("opportunistic: encrypted, though the certificate is nobody's; a verified one is said to be", async () => {
  await using peer = await startPeer({ tls: mx });
  {
    await using us = sender(byMx(peer));
    const [result] = await us.send("b@example.org");
    ok(result?.outcome === "delivered");
    match(result.tls?.version ?? "", /^TLSv1\.[23]$/);
    equal(result.verified, false);
    await us.send("b@example.org");
  }
  equal(peer.connections, 1);
  ok(peer.messages.every(({ tls }) => tls));
  deepEqual(peer.lines.slice(0, 3), ["[0] EHLO us.example.net", "[0] STARTTLS", "[0] EHLO us.example.net"]);
  await using us = sender({ ...byMx(peer), trust: true });
  const [result] = await us.send("b@example.org");
  equal(result?.outcome === "delivered" && result.verified, true);
});

Deno.test("opportunistic: where STARTTLS isn't offered, a cheaper connection from the next one on, until it is", async () => {
  const dialled: boolean[] = [];
  await using peer = await startPeer((n) => n < 2 ? {} : { tls: mx });
  await using us = sender({
    ...byMx(peer),
    dial: (how: DialHow) => {
      dialled.push(how.tls !== undefined);
      return dial(how);
    },
  });
  for (let n = 0; n < 3; n++) {
    deepEqual(short(await us.send("b@example.org")), ["delivered"]);
    await us.clock.advance(7000);
  }
  deepEqual(dialled, [true, false, false, true]);
  deepEqual(peer.messages.map(({ connection, tls }) => [connection, tls]), [[0, false], [1, false], [
    3,
    true,
  ]]);
});

Deno.test("O05 opportunistic: STARTTLS fails, so plain on a new connection, remembered for an hour", async () => {
  for (const refusal of ["454 4.7.0 no", "drop", "220 go on, bye"]) {
    await using peer = await startPeer({
      offers: ["STARTTLS"],
      reply: (command) => command === "STARTTLS" ? refusal : undefined,
    });
    await using us = sender(byMx(peer));
    deepEqual(short(await us.send("b@example.org")), ["delivered"], refusal);
    await us.clock.advance(7000);
    deepEqual(short(await us.send("b@example.org")), ["delivered"]);
    deepEqual(peer.messages.map(({ connection, tls }) => [connection, tls]), [[1, false], [2, false]]);
    equal(us.log.filter(({ event }) => event.startsWith("TLS failed")).length, 1);
    await us.clock.advance(3_600_000);
    await us.send("b@example.org");
    equal(peer.lines.filter((line) => line.endsWith("STARTTLS")).length, 2);
  }
});

Deno.test("O05 bytes behind the peer's 220 are dropped", async () => {
  const injected = "250-peer\r\n250 SIZE 1\r\n550 no\r\n";
  await using peer = await startPeer({ tls: { ...mx, injected } });
  await using us = sender(byMx(peer));
  deepEqual(short(await us.send("b@example.org")), ["delivered"]);
  deepEqual(peer.messages.map(({ connection, tls }) => [connection, tls]), [[0, true]]);
  equal(peer.lines.filter((line) => line.includes("EHLO")).length, 2);
});

Deno.test("O05 required: a certificate nobody vouches for, another's, none, or a failed handshake defer with 4.7.5", async () => {
  const cases = [
    { peer: { tls: mx }, trust: false, says: /self-signed/ },
    { peer: { tls: other }, trust: true, says: /certificate|self-signed|altnames/ },
    { peer: {}, trust: true, says: /^TLS is required, and the peer does not offer it$/ },
    {
      peer: {
        offers: ["STARTTLS"],
        reply: (c: string) => c === "STARTTLS" ? "220 go on, bye" : undefined,
      },
      trust: true,
      says: /TLS failed/,
    },
    {
      peer: { offers: ["STARTTLS"], reply: (c: string) => c === "STARTTLS" ? "454 4.7.0 no" : undefined },
      trust: true,
      says: /^454 4.7.0 no$/,
    },
  ];
  for (const { peer: behaviour, trust, says } of cases) {
    await using peer = await startPeer(behaviour);
    await using us = sender({ ...byMx(peer, "required"), trust });
    const results = await us.send("b@example.org");
    deepEqual(short(results), ["deferred 4.7.5 tls down"], String(says));
    match(results[0]!.reply, says);
    equal(peer.connections, 1); // not plain on another
    equal(peer.messages.length, 0);
  }
});

Deno.test("required: the name in the certificate is the host's, and not only trusted", async () => {
  await using peer = await startPeer({ tls: mx });
  const names = {
    "good.example": { MX: [{ preference: 10, host: "mx.example.test" }] },
    "bad.example": { MX: [{ preference: 10, host: "zz.example.test" }] },
    "mx.example.test": { A: ["127.0.0.1"] },
    "zz.example.test": { A: ["127.0.0.1"] },
  };
  const config = { port: peer.port, allowPrivateAddresses: true, tls: { "*": "required" } };
  await using us = sender({ config, names, trust: true });
  const [good] = await us.send("b@good.example");
  equal(good?.outcome === "delivered" && good.verified, true);
  const bad = await us.send("b@bad.example");
  deepEqual(short(bad), ["deferred 4.7.5 tls down"]);
  match(bad[0]!.reply, /altnames|name/i);
});

Deno.test("none: STARTTLS is not said, though it is offered", async () => {
  await using peer = await startPeer({ tls: mx });
  await using us = sender(byMx(peer, "none"));
  deepEqual(short(await us.send("b@example.org")), ["delivered"]);
  ok(!peer.lines.some((line) => line.includes("STARTTLS")));
});

Deno.test("implicit: TLS before the greeting, verified", async () => {
  await using peer = await startPeer({ tls: { ...mx, implicit: true } });
  const config = (host: string) => ({ route: { "*": { host, port: peer.port, tls: "implicit" } } });
  const names = { "mx.example.test": { A: ["127.0.0.1"] }, "zz.example.test": { A: ["127.0.0.1"] } };
  {
    await using us = sender({ config: config("mx.example.test"), names, trust: true });
    deepEqual(short(await us.send("b@example.org")), ["delivered"]);
    equal(peer.messages[0]!.tls, true);
  }
  await using us = sender({ config: config("zz.example.test"), names, trust: true });
  deepEqual(short(await us.send("b@example.org")), ["deferred 4.7.5 tls down"]);
});

Deno.test("a password goes only to a host that is verified, unless the operator says otherwise", async () => {
  await using peer = await startPeer({ tls: mx, offers: ["AUTH PLAIN"] });
  await using clear = await startPeer({ offers: ["AUTH PLAIN"] });
  const auth = { user: "u", password: "p" };
  const names = { "mx.example.test": { A: ["127.0.0.1"] } };
  const route = (port: number, tls?: string) => ({
    route: { "*": { host: "mx.example.test", port, auth, ...(tls && { tls }) } },
  });
  const run = async (config: Record<string, unknown>, trust: boolean) => {
    await using us = sender({ config, names, trust });
    return short(await us.send("b@example.org"));
  };
  deepEqual(await run(route(peer.port), true), ["delivered"]);
  deepEqual(await run(route(peer.port), false), ["deferred 4.7.5 tls down"]);
  deepEqual(await run(route(peer.port, "opportunistic"), false), ["delivered"]);
  deepEqual(await run(route(clear.port, "opportunistic"), true), ["deferred 4.7.0 auth down"]);
  ok(!clear.lines.some((line) => line.includes("AUTH")));
  deepEqual(await run(route(clear.port, "none"), true), ["delivered"]);
});

Deno.test("a handshake that stalls is left after two minutes", async () => {
  await using peer = await startPeer({
    offers: ["STARTTLS"],
    reply: (c) => c === "STARTTLS" ? "220 go" : undefined,
  });
  await using us = sender({ ...byMx(peer, "required"), trust: true });
  const sending = us.send("b@example.org");
  await peer.untilLine(/STARTTLS/);
  // Its ClientHello is a line to this peer at some time, or never: only the clock decides.
  await us.clock.advance(300_000);
  deepEqual(short(await sending), ["deferred 4.7.5 tls down"]);
});

Deno.test("authorities that can't be read are refused", () => {
  throws(() => trusting("garbage"), /no certificate/);
  throws(() => trusting("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"));
});

Deno.test("required: a forged certificate of version 1, which the runtime takes for good, is not", async () => {
  const trust = trusting(Deno.readTextFileSync(fileOf("authority.pem")));
  const good = { cert: fileOf("server.chain.pem"), key: fileOf("server.key") };
  const forged = { cert: fileOf("forged-v1.pem"), key: fileOf("forged-v1.key") };
  for (const [certificate, result] of [[good, "delivered"], [forged, "deferred 4.7.5 tls down"]] as const) {
    await using peer = await startPeer({ tls: { certificate } });
    await using us = sender({ ...byMx(peer, "required"), trust });
    deepEqual(short(await us.send("b@example.org")), [result]);
    await using easy = sender({ ...byMx(peer), trust });
    const [one] = await easy.send("b@example.org");
    equal(one?.outcome === "delivered" && one.verified, certificate === good);
  }
});

Deno.test("required: a session resumed is verified, and not because the one before it wasn't asked", async () => {
  await using peer = await startPeer({
    tls: { certificate: { cert: fileOf("forged-v1.pem"), key: fileOf("forged-v1.key") } },
  });
  const trust = trusting(Deno.readTextFileSync(fileOf("authority.pem")));
  for (let n = 0; n < 3; n++) {
    await using easy = sender({ ...byMx(peer), trust });
    const [one] = await easy.send("b@example.org");
    equal(one?.outcome === "delivered" && one.verified, false);
    await using us = sender({ ...byMx(peer, "required"), trust });
    deepEqual(short(await us.send("b@example.org")), ["deferred 4.7.5 tls down"]);
  }
});
