/** Where mail goes by DNS, asked of a real server (CASES G01, G02). */
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { makeFolder } from "./folder.ts";
import { untilMessages } from "./mailbox.ts";
import { startNsd } from "./nsd.ts";
import { freePort } from "./ports.ts";
import { relay, relaying, submit } from "./relaying.ts";
import { readReport } from "./report.ts";
import { type LogLine, ServerProcess } from "./server.ts";
import { NextHop } from "./next_hop.ts";
import { mailboxOf, maildir, writeSettings } from "./small_server.ts";

/** Nobody listens at 127.0.0.9. */
const hosts = `
first        A 127.0.0.2
second       A 127.0.0.3
dead         A 127.0.0.9
both         A 127.0.0.2
both         AAAA ::1
noaddress    TXT "there is none"
`;

/** A domain's records; and the address that gets its mail, or what becomes of that. */
const domains: Readonly<Record<string, readonly [records: readonly string[], result: string]>> = {
  "preferences": [["MX 20 second", "MX 10 first"], "127.0.0.2"],
  "preferences2": [["MX 10 second", "MX 20 first"], "127.0.0.3"],
  "first-is-dead": [["MX 10 dead", "MX 20 second"], "127.0.0.3"],
  "all-dead": [["MX 10 dead"], "deferred 4.4.1"],
  "first-is-nothing": [["MX 10 noaddress", "MX 20 second"], "127.0.0.3"],
  "nothing": [["MX 10 noaddress"], "bounced 5.4.4"],
  "no-such-host": [["MX 10 nowhere"], "bounced 5.4.4"],
  "literal": [["MX 10 127.0.0.2."], "bounced 5.4.4"],
  "null-mx": [["MX 0 ."], "bounced 5.1.10"],
  "only-address": [["A 127.0.0.2"], "127.0.0.2"],
  "only-text": [['TXT "no mail"'], "bounced 5.1.2"],
  "two-families": [["MX 10 both"], "127.0.0.2"],
  "another-name": [["CNAME preferences"], "127.0.0.2"],
  "around": [["CNAME around"], "deferred 4.4.3"],
  "own": [["MX 10 mx.example.test.", "MX 20 first"], "bounced 5.4.6"],
  "backup": [["MX 10 second", "MX 20 mx.example.test.", "MX 30 first"], "127.0.0.3"],
  "over-udp": [Array.from({ length: 120 }, (_, i) => `MX 10 host-number-${i}.among-many`), "127.0.0.2"],
  "lame-host": [["MX 10 mx.lame.test."], "deferred 4.4.3"],
  "lame-host-first": [["MX 10 mx.lame.test.", "MX 20 second"], "127.0.0.3"],
};

function zone(): string {
  const lines = [hosts, "*.among-many A 127.0.0.2", "lame NS ns.lame", "ns.lame A 127.0.0.1"];
  for (const [name, [records]] of Object.entries(domains)) {
    for (const record of records) lines.push(`${name} ${record}`);
  }
  return `${lines.join("\n")}\n`;
}

/** Two mail servers at one port, as MX has it; nobody listens there at 127.0.0.9. */
function openHosts(): [first: NextHop, second: NextHop] {
  const port = freePort("127.0.0.2", "127.0.0.3", "127.0.0.9", "::1");
  return [new NextHop({ hostname: "127.0.0.2", port }), new NextHop({ hostname: "127.0.0.3", port })];
}

/** Sends to each domain; what became of it, in words as in `domains`. */
async function outcomes(server: ServerProcess, names: readonly string[]): Promise<Record<string, string>> {
  const found = await Promise.all(names.map(async (name) => {
    const to = `bob@${name}`;
    await submit(server.port(), to, { subject: name });
    const isIts = (line: LogLine) => line["to"] === to;
    const events = ["delivered", "deferred", "bounced"];
    const line = await Promise.race(events.map((event) => server.logged(event, isIts)));
    equal(line["attempt"], 1);
    const host = /\[([^\]]+)\]/.exec(String(line["host"]))?.[1];
    return [name, line.event === "delivered" ? host : `${line.event} ${line["status"]}`];
  }));
  return Object.fromEntries(found);
}

Deno.test("G01 G02 MX, null MX, no MX, no such domain, and DNS that can't say", async () => {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  const [first, second] = openHosts().map((hop) => undo.use(hop));
  const nsd = undo.use(await startNsd(folder, { "test": zone(), "lame.test": undefined }));
  const server = undo.use(
    await ServerProcess.start(
      await writeSettings(
        folder,
        relaying({ port: first!.port, allowPrivateAddresses: true }, { dns: { servers: [nsd.address] } }),
      ),
    ),
  );
  const expected: Record<string, string> = {
    "nobody.test": "bounced 5.1.2", // NXDOMAIN
    "lame.test": "deferred 4.4.3", // SERVFAIL
    "elsewhere.invalid": "deferred 4.4.3", // REFUSED
  };
  for (const [name, [, result]] of Object.entries(domains)) expected[`${name}.test`] = result;
  deepEqual(await outcomes(server, Object.keys(expected)), expected);

  const failed = Object.entries(expected).filter(([, result]) => result.startsWith("bounced "));
  const reports = await Promise.all(
    (await untilMessages(mailboxOf(folder, "alice"), failed.length)).map(readReport),
  );
  const told = reports.map(({ recipients: [one] }) => [one!["final-recipient"], one!["status"]]).sort();
  deepEqual(
    told,
    failed.map(([name, result]) => [`rfc822; bob@${name}`, result.slice("bounced ".length)]).sort(),
  );
  equal(first!.arrivals.length, Object.values(expected).filter((result) => result === "127.0.0.2").length);
  equal(second!.arrivals.length, Object.values(expected).filter((result) => result === "127.0.0.3").length);
  equal(await server.stop(), 0);
});

Deno.test("an MX at a private address is not connected to, unless the operator allows it", async () => {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  const [first] = openHosts().map((hop) => undo.use(hop));
  const private10 = "at-home MX 10 host\nhost A 10.1.2.3\n";
  const nsd = undo.use(await startNsd(folder, { "test": zone() + private10 }));
  const server = undo.use(
    await ServerProcess.start(
      await writeSettings(folder, {
        plugins: [relay, maildir],
        outbound: { port: first!.port },
        dns: { servers: [nsd.address] },
      }),
    ),
  );
  const names = ["preferences.test", "only-address.test", "at-home.test"];
  deepEqual(await outcomes(server, names), Object.fromEntries(names.map((name) => [name, "bounced 5.4.4"])));
  ok(first!.arrivals.length === 0);
  equal(await server.stop(), 0);
});
