/** Reports on TLS: gathered by day and domain, sent when the day is over to who asks for them (RFC 8460). */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import type { HttpsAnswer, HttpsRequest } from "../../../server/delivery/https.ts";
import type { Seen } from "../../../server/delivery/smtp/witness.ts";
import { count, merge, type Tally } from "../../../server/delivery/tls_reports/tally.ts";
import { type ReportSender, TlsReports } from "../../../server/delivery/tls_reports/reports.ts";
import { memoryStore, type Stores } from "../../../server/store.ts";
import { FakeClock } from "../../../server/testing/clock.ts";
import { fakeDns, type FakeName } from "../../../server/testing/dns.ts";
import { countingIds } from "../../../server/testing/ids.ts";
import { type Line, recordingLog } from "../../channel/fixtures.ts";

const day = 864e5;
const sts = {
  type: "sts",
  domain: "example.org",
  strings: ["version: STSv1", "mode: enforce"],
  mx: ["*.example.org"],
} as const;
const tlsa = { type: "tlsa", domain: "mx.example.org", strings: ["3 1 1 00"], mx: [] } as const;
const good: Seen = {
  domain: "example.org",
  policy: sts,
  result: "success",
  host: "mx.example.org",
  address: "192.0.2.1",
};
const bad: Seen = { ...good, result: "certificate-expired", text: "certificate has expired" };

interface Mail {
  readonly id: string;
  readonly recipient: string;
  readonly content: string;
}

const us: ReportSender = {
  from: "tls-reports@sender.example",
  organization: "Sender Inc.",
  contact: undefined,
  sendingAddress: undefined,
};

/** With a domain that wants reports as its TXT record says. */
function rig(
  txt: FakeName | undefined,
  { sender = us, before, answer = 201, refuse = false }: {
    readonly sender?: ReportSender | "nobody";
    readonly before?: { readonly clock: FakeClock; readonly stores: Stores };
    readonly answer?: number | "unreachable";
    readonly refuse?: boolean;
  } = {},
) {
  const clock = before?.clock ?? new FakeClock(Date.UTC(2026, 0, 31, 12));
  const stores = before?.stores ?? memoryStore(clock);
  const dns = fakeDns({ ...(txt !== undefined && { "_smtp._tls.example.org": txt }) });
  const [mails, posts, log] = [[] as Mail[], [] as HttpsRequest[], [] as Line[]];
  const ids = countingIds();
  const reports: TlsReports = new TlsReports({
    store: stores.for("tls"),
    query: dns.query,
    clock,
    log: recordingLog(log),
    newId: () => ids.message(),
    sender: () => sender === "nobody" ? undefined : sender,
    submit: async (mail): Promise<void> => {
      // By then it is known as a report: its very first attempt may come before this returns.
      equal(await reports.isReport({ id: mail.id, sender: "" }), true);
      if (refuse) throw new Error("550 5.7.1 no");
      mails.push(mail);
    },
    post: (request): Promise<HttpsAnswer> => {
      posts.push(request);
      return Promise.resolve(
        answer === "unreachable"
          ? { kind: "failed", because: "unreachable", text: "nobody there" }
          : { kind: "answered", status: answer, type: undefined, body: new Uint8Array() },
      );
    },
  });
  reports.start();
  return { clock, stores, dns, mails, posts, log, reports, [Symbol.asyncDispose]: () => reports.close() };
}

const byMail: FakeName = { TXT: ["v=TLSRPTv1; rua=mailto:reports@example.org"] };
const byHttps: FakeName = { TXT: ["v=TLSRPTv1; rua=https://report.example.org:8443/v1?x=y"] };

/** Passes whole days, in steps that let each round do its work. */
async function pass(clock: FakeClock, days: number): Promise<void> {
  for (let n = 0; n < days * 48; n++) await clock.advance(day / 48);
}

function packedIn({ content }: Mail): Record<string, unknown> {
  const part = content.split("application/tlsrpt+gzip")[1]!.split("\r\n\r\n")[1]!.split("\r\n--")[0]!;
  return JSON.parse(new TextDecoder().decode(gunzipSync(Uint8Array.fromBase64(part.replaceAll("\r\n", "")))));
}

Deno.test("RFC 8460 §4.4 a day's report, by mail", async () => {
  await using at = rig(byMail);
  for (let n = 0; n < 3; n++) at.reports.gather(good);
  at.reports.gather(bad);
  at.reports.gather({ ...good, policy: tlsa });
  at.reports.gather({ ...good, domain: "example.net" }); // who wants none
  await pass(at.clock, 0.5);
  equal(at.mails.length, 0); // the day has only just ended
  await pass(at.clock, 2);
  equal(at.mails.length, 1);
  const { recipient, content } = at.mails[0]!;
  equal(recipient, "reports@example.org");
  for (
    const line of [
      /^From: <tls-reports@sender\.example>\r$/m,
      /^To: <reports@example\.org>\r$/m,
      /^Subject: Report Domain: example\.org\r\n Submitter: sender\.example\r\n Report-ID: <2026-01-31-[^>]+@sender\.example>\r$/m,
      /^TLS-Report-Domain: example\.org\r$/m,
      /^TLS-Report-Submitter: sender\.example\r$/m,
      /^Auto-Submitted: auto-generated\r$/m,
      /^Content-Type: multipart\/report; report-type="tlsrpt";\r\n boundary=/m,
      /^ filename="sender\.example!example\.org!1769817600!1769903999![A-Z0-9]+\.json\.gz"\r$/m,
    ]
  ) match(content, line);
  ok(content.split("\r\n").every((line) => line.length <= 998 && !/[\r\n]/.test(line)));
  const report = packedIn(at.mails[0]!);
  match(String(report["report-id"]), /^2026-01-31-.+@sender\.example$/);
  deepEqual({ ...report, "report-id": "" }, {
    "organization-name": "Sender Inc.",
    "date-range": { "start-datetime": "2026-01-31T00:00:00Z", "end-datetime": "2026-01-31T23:59:59Z" },
    "contact-info": "tls-reports@sender.example",
    "report-id": "",
    policies: [{
      policy: {
        "policy-type": "sts",
        "policy-string": ["version: STSv1", "mode: enforce"],
        "policy-domain": "example.org",
        "mx-host": ["*.example.org"],
      },
      summary: { "total-successful-session-count": 3, "total-failure-session-count": 1 },
      "failure-details": [{
        "result-type": "certificate-expired",
        "receiving-mx-hostname": "mx.example.org",
        "receiving-ip": "192.0.2.1",
        "failed-session-count": 1,
        "failure-reason-code": "certificate has expired",
      }],
    }, {
      policy: { "policy-type": "tlsa", "policy-string": ["3 1 1 00"], "policy-domain": "mx.example.org" },
      summary: { "total-successful-session-count": 1, "total-failure-session-count": 0 },
    }],
  });
});

Deno.test("RFC 8460 §5.4 a report by HTTPS: packed, to the very address", async () => {
  await using at = rig(byHttps);
  at.reports.gather(bad);
  await pass(at.clock, 2);
  equal(at.posts.length, 1);
  const { host, port, path, headers, body } = at.posts[0]!;
  deepEqual([host, port, path, headers], ["report.example.org", 8443, "/v1?x=y", {
    "content-type": "application/tlsrpt+gzip",
  }]);
  equal(JSON.parse(new TextDecoder().decode(gunzipSync(body!)))["policies"].length, 1);
  deepEqual(at.log.map(({ event }) => event), ["TLS report sent"]);
});

Deno.test("nobody sends: nobody is asked, and nothing piles up", async () => {
  await using at = rig(byMail, { sender: "nobody" });
  at.reports.gather(bad);
  await pass(at.clock, 2);
  deepEqual([at.mails, at.dns.asked], [[], []]);
  await using later = rig(byMail, { before: at });
  await pass(later.clock, 1);
  deepEqual(later.mails, []);
});

Deno.test("what was gathered outlives a restart, the day's end among them", async () => {
  const first = rig(byMail);
  first.reports.gather(good);
  await first.reports.close();
  await using second = rig(byMail, { before: first });
  second.reports.gather(good);
  await second.clock.advance(60_000);
  await pass(second.clock, 2);
  const [policy] = packedIn(second.mails[0]!)["policies"] as { summary: Record<string, number> }[];
  equal(policy!.summary["total-successful-session-count"], 2);
});

Deno.test("RFC 8460 §3 a report that can't be delivered is tried again for a day, then dropped with a word", async () => {
  for (const how of [{ answer: "unreachable" }, { answer: 500 }, { refuse: true }] as const) {
    await using at = rig("refuse" in how ? byMail : byHttps, how);
    at.reports.gather(bad);
    await pass(at.clock, 4);
    const events = at.log.map(({ event }) => event);
    ok(events.filter((event) => event === "TLS report not sent").length > 10, String(events.length));
    equal(events.filter((event) => event === "TLS report given up").length, 1);
    const before = events.length;
    await pass(at.clock, 1);
    equal(at.log.length, before);
  }
});

Deno.test("DNS that can't say who wants one is asked again; one of two targets is enough", async () => {
  await using at = rig("servfail");
  at.reports.gather(good);
  await pass(at.clock, 0.9);
  at.dns.set("_smtp._tls.example.org", {
    TXT: ["v=TLSRPTv1; rua=https://down.example/,mailto:reports@example.org"],
  });
  await pass(at.clock, 1);
  equal(at.mails.length, 1);
});

Deno.test("RFC 8460 §3 a report is known as one by its id, and only from the null sender", async () => {
  await using at = rig(byMail);
  at.reports.gather(good);
  await pass(at.clock, 2);
  const { id } = at.mails[0]!;
  equal(await at.reports.isReport({ id, sender: "" }), true);
  equal(await at.reports.isReport({ id, sender: "x@example.org" }), false);
  equal(await at.reports.isReport({ id: `${id}X`, sender: "" }), false);
});

Deno.test("a tally stays small, whatever happens in a day, and loses no session", () => {
  const tally: Tally = { policies: [] };
  for (let n = 0; n < 5000; n++) {
    count(tally, {
      ...bad,
      policy: { ...sts, strings: [`id ${n % 100}`] },
      address: `192.0.2.${n % 256}`,
      text: `${n} ${"x".repeat(5000)}`,
    });
  }
  const both: Tally = { policies: [] };
  merge(both, tally);
  merge(both, tally);
  for (const [one, sessions] of [[tally, 5000], [both, 10_000]] as const) {
    const all = one.policies.flatMap(({ failures }) => failures).reduce(
      (sum, failure) => sum + failure.count,
      0,
    );
    equal(all, sessions);
    ok(JSON.stringify(one).length < 250_000, String(JSON.stringify(one).length));
  }
});
