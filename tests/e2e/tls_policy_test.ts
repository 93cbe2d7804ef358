/** DANE and MTA-STS as they are out there: unbound over a signed zone, Postfix, a web server with policies. */
import { deepStrictEqual as deepEqual, match, strictEqual as equal } from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { gunzipSync } from "node:zlib";
import { TlsReports } from "../../server/delivery/tls_reports/reports.ts";
import { openStore } from "../../server/store.ts";
import { FakeClock, fakeDns, memoryLog } from "../../server/testing/mod.ts";
import { type Asked, startHttps } from "../delivery/mta_sts/https_server.ts";
import { makeAuthority, makeCertificate } from "./certificate.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { untilMessages } from "./mailbox.ts";
import { drawPorts, startPostfix } from "./postfix.ts";
import { relaying, submit } from "./relaying.ts";
import { type LogLine, root, ServerProcess } from "./server.ts";
import { writeSettings } from "./small_server.ts";
import { startSignedDns } from "./unbound.ts";

/** What becomes of mail to each domain of remote.test: whether Postfix gets it, encrypted, or the status it waits with. */
const expected: Readonly<Record<string, string>> = {
  "dane-key": "delivered TLS dane",
  "dane-authority": "delivered TLS dane",
  "dane-wrong": "deferred 4.7.5 tls",
  "dane-forged": "deferred 4.4.3 dns",
  "dane-unusable": "delivered TLS authority",
  "dane-alias": "delivered TLS dane",
  "not-signed": "delivered TLS unverified",
  "sts-met": "delivered TLS authority",
  "sts-elsewhere": "deferred 4.7.5 tls",
  "sts-certificate": "deferred 4.7.5 tls",
  "sts-testing": "delivered TLS authority",
  "sts-gone": "delivered TLS authority",
};

const policies: Readonly<Record<string, string>> = {
  "sts-met": "mode: enforce\nmx: *.remote.test",
  "sts-elsewhere": "mode: enforce\nmx: mx.elsewhere.test",
  "sts-certificate": "mode: enforce\nmx: nobody.remote.test",
  "sts-testing": "mode: testing\nmx: mx.elsewhere.test",
};

/** The zone, for hosts at this port that show this certificate, whose authority is that. */
function zone(port: number, cert: string, authority: string): string {
  const hash = (data: Uint8Array) => createHash("sha256").update(data).digest("hex");
  const key = hash(new X509Certificate(cert).publicKey.export({ type: "spki", format: "der" }));
  const issuer = hash(new X509Certificate(authority).raw);
  const hosts = {
    "mx": undefined,
    "nobody": undefined,
    "key": `3 1 1 ${key}`,
    "authority": `2 0 1 ${issuer}`,
    "wrong": `3 1 1 ${"0".repeat(64)}`,
    "forged": `3 1 1 ${"a".repeat(64)}`,
    "unusable": `1 1 1 ${"0".repeat(64)}`,
  };
  const mx = {
    "dane-key": "key",
    "dane-authority": "authority",
    "dane-wrong": "wrong",
    "dane-forged": "forged",
    "dane-unusable": "unusable",
    "dane-alias": "alias",
    "sts-met": "mx",
    "sts-elsewhere": "mx",
    "sts-certificate": "nobody",
    "sts-testing": "mx",
    "sts-gone": "mx",
  };
  return [
    "alias CNAME key",
    "not-signed NS ns.not-signed",
    "ns.not-signed A 127.0.0.1",
    ...Object.entries(hosts).flatMap(([host, tlsa]) => [
      `${host} A 127.0.0.1`,
      ...(tlsa === undefined ? [] : [`_${port}._tcp.${host} TLSA ${tlsa}`]),
    ]),
    ...Object.entries(mx).map(([domain, host]) => `${domain} MX 10 ${host}`),
    ...Object.keys(mx).filter((domain) => domain.startsWith("sts-")).flatMap((domain) => [
      `_mta-sts.${domain} TXT "v=STSv1; id=1;"`,
      `mta-sts.${domain} A 127.0.0.1`,
    ]),
    "",
  ].join("\n");
}

/** The same hosts, by DNS that nobody has signed: their TLSA records count for nothing. */
function notSigned(port: number): string {
  return `@ MX 10 host\nhost A 127.0.0.1\nns A 127.0.0.1\n_${port}._tcp.host TLSA 3 1 1 ${"0".repeat(64)}\n`;
}

/** Someone who can change the zone, and can't sign it. */
function forge(signed: string): string {
  return signed.replace("a".repeat(64), "b".repeat(64));
}

function answer({ path, headers }: Asked): Response {
  const domain = /^mta-sts\.([^.]+)/.exec(headers["host"] ?? "")?.[1] ?? "";
  const policy = policies[domain];
  if (path !== "/.well-known/mta-sts.txt" || policy === undefined) return new Response("no", { status: 404 });
  const headersOut = { "content-type": "text/plain" };
  return new Response(`version: STSv1\n${policy}\nmax_age: 86400\n`, { headers: headersOut });
}

async function outcome(server: ServerProcess, domain: string): Promise<string> {
  const to = `${domain}@${domain}.remote.test`;
  await submit(server.port(), to);
  const isIts = (line: LogLine) => line["to"] === to;
  const line = await Promise.race(
    ["delivered", "deferred", "bounced"].map((event) => server.logged(event, isIts)),
  );
  return line.event === "delivered"
    ? `delivered ${line["tls"] === undefined ? "clear" : "TLS"} ${line["verified"] ?? "unverified"}`
    : `${line.event} ${line["status"]} ${line["reason"]}`;
}

async function certificates(folder: Folder) {
  const authority = await makeAuthority(folder);
  const names = ["mx", "key", "authority", "wrong", "forged", "unusable"].map((host) =>
    `${host}.remote.test`
  );
  const [first, ...more] = names;
  const right = await authority.certify(first!, ...more);
  // With its authority behind it, as DANE-TA wants it (RFC 7671 §5.2.3).
  const chain = await Deno.readTextFile(right.cert) + await Deno.readTextFile(authority.cert);
  await Deno.writeTextFile(right.cert, chain);
  const web = Object.keys(expected).filter((name) => name.startsWith("sts-")).map((name) =>
    `mta-sts.${name}.remote.test`
  );
  const stranger = await makeCertificate(folder, "mx.remote.test");
  return {
    authority,
    smtp: { right, impostor: right, stranger },
    web: await authority.certify(web[0]!, ...web.slice(1)),
  };
}

Deno.test("DANE and MTA-STS decide, each for its domains; a policy outlives its web server", async () => {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  const { authority, smtp, web } = await certificates(folder);
  const ports = drawPorts();
  const [cert, ca] = [await Deno.readTextFile(smtp.right.cert), await Deno.readTextFile(authority.cert)];
  const dns = undo.use(
    await startSignedDns(
      folder,
      { name: "remote.test", records: zone(ports.right, cert, ca) },
      { name: "not-signed.remote.test", records: notSigned(ports.right) },
      forge,
    ),
  );
  const boxes = Object.keys(expected);
  const postfix = undo.use(await startPostfix({ folder, ports, certificates: smtp, boxes, ours: 9 }));
  const asked: string[] = [];
  const https = await startHttps(web, (request) => {
    asked.push(request.headers["host"] ?? "");
    return answer(request);
  });
  undo.use(https);
  const outbound = {
    port: ports.right,
    allowPrivateAddresses: true,
    authorities: authority.cert,
    dane: true,
  };
  const config = await writeSettings(
    folder,
    relaying(outbound, { dns: { servers: [dns.validating], probe: "remote.test" } }),
  );
  const command = [Deno.execPath(), "run", "-A", `${root}tests/e2e/embedded.ts`, String(https.port)];
  {
    await using server = await ServerProcess.start(config, { command });
    await server.logged("DNS answers are validated: DANE is used");
    const found = await Promise.all(boxes.map(async (domain) => [domain, await outcome(server, domain)]));
    deepEqual(Object.fromEntries(found), expected, `${server.stderr}\n${await postfix.log()}`);
    const tested = await server.logged("MTA-STS policy not met, and only being tested");
    equal(tested["domain"], "sts-testing.remote.test");
    const gone = await server.logged("MTA-STS policy can't be had");
    deepEqual([gone["domain"], gone["fault"]], ["sts-gone.remote.test", "sts-policy-fetch-error"]);
    equal(await server.stop(), 0);
  }
  for (const [domain, result] of Object.entries(expected)) {
    if (result.startsWith("delivered")) await untilMessages(postfix.maildir(domain), 1);
  }
  equal(asked.filter((host) => host.startsWith("mta-sts.sts-met.")).length, 1);

  // The web server is gone, and the policy in the store still holds after a restart.
  await https[Symbol.asyncDispose]();
  await using server = await ServerProcess.start(config, { command });
  equal(await outcome(server, "sts-elsewhere"), "deferred 4.7.5 tls");
  equal(await outcome(server, "sts-met"), "delivered TLS authority");
  equal(await server.stop(), 0);
});

Deno.test("DANE is wanted, and the DNS server validates nothing: said loudly at start, and again why", async () => {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  const dns = undo.use(
    await startSignedDns(
      folder,
      { name: "remote.test", records: "host A 127.0.0.1\n" },
      { name: "not-signed.remote.test", records: notSigned(25) },
      (signed) => signed,
    ),
  );
  const warned = async (dane: boolean | undefined, server: string) => {
    const config = await writeSettings(
      folder,
      relaying({ ...(dane !== undefined && { dane }) }, { dns: { servers: [server], probe: "remote.test" } }),
    );
    await using process = await ServerProcess.start(config);
    const event = dane
      ? "`outbound.dane` is wanted and CAN'T BE USED: DNS answers are not validated"
      : "DNS answers are not validated: DANE is not used";
    const line = await process.logged(event);
    equal(await process.stop(), 0);
    return [line.level, String(line["error"] ?? line["reason"])] as const;
  };
  const [level, why] = await warned(true, dns.plain);
  equal(level, "warning");
  match(why, /does not say that remote\.test, which is signed, was validated/);
  equal((await warned(undefined, dns.plain))[0], "info");
});

Deno.test("RFC 8460 a report goes by mail, signed like all mail and in spite of policies, and by HTTPS", async () => {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  const { authority, smtp } = await certificates(folder);
  const ports = drawPorts();
  const [cert, ca] = [await Deno.readTextFile(smtp.right.cert), await Deno.readTextFile(authority.cert)];
  const posted = Promise.withResolvers<Asked>();
  const https = undo.use(
    await startHttps(await authority.certify("reports.remote.test"), (asked) => {
      posted.resolve(asked);
      return new Response(null, { status: 201 });
    }),
  );
  // Its mail goes to a host whose TLSA record doesn't fit.
  const rua = `mailto:dane-wrong@dane-wrong.remote.test,https://reports.remote.test:${https.port}/tlsrpt`;
  const asking = `reports A 127.0.0.1\n_smtp._tls.dane-key TXT "v=TLSRPTv1; rua=${rua}"\n`;
  const dns = undo.use(
    await startSignedDns(
      folder,
      { name: "remote.test", records: zone(ports.right, cert, ca) + asking },
      { name: "not-signed.remote.test", records: notSigned(ports.right) },
      forge,
    ),
  );
  const postfix = undo.use(
    await startPostfix({ folder, ports, certificates: smtp, boxes: ["dane-wrong"], ours: 9 }),
  );
  await gatherTwoDaysAgo(folder, "dane-key.remote.test");
  await folder.write(
    "sign.ts",
    `export default ({ definePlugin }) => definePlugin({
      name: "sign",
      setup(on) {
        on("data", (_session, message) => message.prependHeader("X-Signed", message.headers.get("From")));
      },
    });`,
  );
  const settings = relaying({
    port: ports.right,
    allowPrivateAddresses: true,
    authorities: authority.cert,
    tlsReports: { from: "tls-reports@example.test", organization: "Example" },
  }, { dns: { servers: [dns.validating], probe: "remote.test" } });
  const plugins = [{ use: "./sign.ts" }, ...settings["plugins"] as unknown[]];
  const config = await writeSettings(folder, { ...settings, plugins });
  await using server = await ServerProcess.start(config);

  const { method, path, headers, body } = await posted.promise;
  deepEqual([method, path, headers["content-type"]], ["POST", "/tlsrpt", "application/tlsrpt+gzip"]);
  const report = JSON.parse(new TextDecoder().decode(gunzipSync(body)));
  deepEqual(report.policies[0].summary, {
    "total-successful-session-count": 1,
    "total-failure-session-count": 0,
  });
  const [mail] = await untilMessages(postfix.maildir("dane-wrong"), 1);
  const text = mail!.toString();
  match(text, /^X-Signed: <tls-reports@example\.test>$/m);
  match(text, /^Return-Path: <>$/m);
  match(text, /^Content-Type: multipart\/report; report-type="tlsrpt";$/m);
  // Other mail to the same host waits.
  await submit(server.port(), "someone@dane-wrong.remote.test");
  equal((await server.logged("deferred"))["status"], "4.7.5");
  equal(await server.stop(), 0);
});

/** As the server itself would have done, had it run. */
async function gatherTwoDaysAgo(folder: Folder, domain: string): Promise<void> {
  const clock = new FakeClock(Date.now() - 2 * 864e5);
  await Deno.mkdir(folder.at("state"), { mode: 0o700 });
  const stores = await openStore(folder.at("state", "store.db"), clock);
  const nothing = () => Promise.reject(new Error("nothing is sent"));
  const { query } = fakeDns();
  const reports = new TlsReports({
    store: stores.for("tls reports"),
    query,
    clock,
    log: memoryLog(),
    sender: () => undefined,
    newId: () => "1",
    submit: nothing,
    post: nothing,
  });
  const policy = { type: "no-policy-found", domain, strings: [], mx: [] } as const;
  reports.gather({ domain, policy, result: "success" });
  await reports.close();
  await stores.close();
}
