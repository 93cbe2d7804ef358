/** Fetching a policy, from a real HTTPS server that behaves or doesn't (RFC 8461 §3.3). */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { policyFetcher } from "../../../server/delivery/mta_sts/fetch.ts";
import { systemTrust, trusting } from "../../../server/delivery/smtp/tls.ts";
import { FakeClock } from "../../../server/testing/clock.ts";
import { fakeDns, type FakeName } from "../../../server/testing/dns.ts";
import { fileOf } from "../smtp/certs/files.ts";
import { type Asked, startHttps } from "./https_server.ts";

const policy = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.test\r\nmax_age: 86400\r\n";
const text = { "content-type": "text/plain; charset=utf-8" };
const trust = trusting(Deno.readTextFileSync(fileOf("authority.pem")));

type Answer = (request: Asked) => Response | Promise<Response>;

interface How {
  readonly answer?: Answer;
  readonly certificate?: "policy-host" | "forged-policy-host" | "server";
  readonly host?: FakeName | null;
  readonly allowPrivateAddresses?: boolean;
  readonly trusted?: boolean;
}

/** Fetches the policy of `example.test` once. */
async function fetched(
  {
    answer = () => new Response(policy, { headers: text }),
    certificate = "policy-host",
    host = { A: ["127.0.0.1"] },
    allowPrivateAddresses = true,
    trusted = true,
  }: How,
  whileAsking: (clock: FakeClock, stop: AbortController) => Promise<void> = async () => {},
) {
  const asked: Asked[] = [];
  const chain = certificate === "forged-policy-host" ? "" : ".chain";
  await using server = await startHttps(
    { cert: fileOf(`${certificate}${chain}.pem`), key: fileOf(`${certificate}.key`) },
    (request) => {
      asked.push(request);
      return answer(request);
    },
  );
  const clock = new FakeClock();
  const { query } = fakeDns({ ...(host !== null && { "mta-sts.example.test": host }) });
  const fetch = policyFetcher({
    query,
    clock,
    trust: trusted ? trust : systemTrust,
    allowPrivateAddresses,
    port: server.port,
  });
  const stop = new AbortController();
  const fetching = fetch("example.test", stop.signal);
  await whileAsking(clock, stop);
  return { result: await fetching, asked };
}

Deno.test("a policy is fetched from where the RFC says", async () => {
  const { result, asked } = await fetched({});
  ok(result.kind === "policy");
  deepEqual([result.policy.mode, result.policy.mx], ["enforce", ["mx.example.test"]]);
  equal(asked[0]!.path, "/.well-known/mta-sts.txt");
  match(asked[0]!.headers["host"] ?? "", /^mta-sts\.example\.test(:[0-9]+)?$/);
});

const failures: readonly (readonly [what: string, how: How, fault: string, says: RegExp])[] = [
  [
    "a redirect is not followed",
    {
      answer: ({ path }) =>
        path === "/there"
          ? new Response(policy, { headers: text })
          : new Response(null, { status: 301, headers: { location: "/there" } }),
    },
    "sts-policy-fetch-error",
    /301/,
  ],
  [
    "not found",
    { answer: () => new Response(policy, { status: 404, headers: text }) },
    "sts-policy-fetch-error",
    /404/,
  ],
  [
    "another success than 200",
    { answer: () => new Response(policy, { status: 203, headers: text }) },
    "sts-policy-fetch-error",
    /203/,
  ],
  [
    "another type",
    { answer: () => new Response(policy, { headers: { "content-type": "text/html" } }) },
    "sts-policy-invalid",
    /text\/html/,
  ],
  [
    "no policy",
    { answer: () => new Response("<html>", { headers: text }) },
    "sts-policy-invalid",
    /not a field/,
  ],
  [
    "too long",
    { answer: () => new Response("a: b\n".repeat(20_000), { headers: text }) },
    "sts-policy-invalid",
    /longer/,
  ],
  [
    "without end",
    { answer: () => new Response(endless(), { headers: text }) },
    "sts-policy-invalid",
    /longer/,
  ],
  ["another host's certificate", { certificate: "server" }, "sts-webpki-invalid", /altnames/],
  ["a certificate nobody vouches for", { trusted: false }, "sts-webpki-invalid", /certificate/],
  [
    "a forged certificate of version 1, which the runtime takes for good",
    { certificate: "forged-policy-host" },
    "sts-webpki-invalid",
    /authority/,
  ],
  ["no such host", { host: null }, "sts-policy-fetch-error", /no address/],
  ["DNS fails", { host: "servfail" }, "sts-policy-fetch-error", /servfail/],
  ["a private address", { allowPrivateAddresses: false }, "sts-policy-fetch-error", /no address that may/],
  ["nobody listens", { host: { A: ["127.0.0.99"] } }, "sts-policy-fetch-error", /refused/i],
];

function endless(): ReadableStream<Uint8Array> {
  return new ReadableStream({ pull: (to) => to.enqueue(new TextEncoder().encode("a: b\n".repeat(1000))) });
}

for (const [what, how, fault, says] of failures) {
  Deno.test(`RFC 8461 §3.3 ${what} → ${fault}`, async () => {
    const { result } = await fetched(how);
    ok(result.kind === "failed", JSON.stringify(result));
    equal(result.fault, fault);
    match(result.text, says);
  });
}

Deno.test("RFC 8461 §3.3 the address that answers is taken where another doesn't", async () => {
  const { result } = await fetched({ host: { A: ["127.0.0.99", "127.0.0.1"] } });
  equal(result.kind, "policy");
});

Deno.test("RFC 8461 §3.3 a policy host that hangs is left after half a minute, and at once when nobody waits", async () => {
  for (const how of ["late", "stopped"] as const) {
    const asked = Promise.withResolvers<void>();
    const { promise, resolve } = Promise.withResolvers<Response>();
    const { result } = await fetched({
      answer: () => {
        asked.resolve();
        return promise;
      },
    }, async (clock, stop) => {
      await asked.promise;
      if (how === "late") await clock.advance(30_000);
      else stop.abort(new Error("nobody waits"));
      resolve(new Response(null));
    });
    ok(result.kind === "failed");
    equal(result.text, how === "late" ? "it took too long" : "nobody waits");
  }
});
