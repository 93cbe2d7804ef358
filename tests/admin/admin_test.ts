import {
  deepStrictEqual as deepEqual,
  match,
  ok,
  rejects,
  strictEqual as equal,
  throws,
} from "node:assert/strict";
import { Health } from "../../server/admin/health.ts";
import { BoundedLabels } from "../../server/admin/labels.ts";
import { PrometheusMetrics } from "../../server/admin/prometheus.ts";
import { AdminFailed, AdminServer } from "../../server/admin/server.ts";
import { systemClock } from "../../server/clock.ts";
import { admin } from "../../server/config/admin.ts";
import { MemorySpool } from "../../server/spool/memory.ts";
import { FakeClock } from "../../server/testing/clock.ts";
import { memoryLog } from "../../server/testing/log.ts";
import { fill, now } from "../control/kit.ts";

function rig() {
  const clock = new FakeClock(now);
  const spool = new MemorySpool(clock);
  const metrics = new PrometheusMetrics({
    clock,
    spool,
    deliveries: { active: 3, asleep: [{}] },
    free: () => Promise.resolve(12_345_678),
  });
  return { clock, spool, metrics };
}

/** The samples, by name and labels. */
async function samples(metrics: PrometheusMetrics): Promise<Map<string, number>> {
  const lines = (await metrics.text()).split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(lines.map((line) => {
    const space = line.lastIndexOf(" ");
    return [line.slice(0, space), Number(line.slice(space + 1))];
  }));
}

async function served(
  test: (
    url: string,
    world: { health: { ill: string[]; reasons(): Promise<string[]> }; server: AdminServer },
  ) => Promise<void>,
): Promise<void> {
  const { metrics } = rig();
  const health = { ill: [] as string[], reasons: () => Promise.resolve(health.ill) };
  const server = new AdminServer({
    address: "127.0.0.1",
    port: 0,
    log: memoryLog(),
    clock: new FakeClock(),
    metrics,
    health,
  });
  try {
    await test(`http://127.0.0.1:${server.port}`, { health, server });
  } finally {
    await server.close();
    metrics.close();
  }
}

// ── Figures ────────────────────────────────────────────────────────────────────────────────────────

Deno.test("metrics: the queue by state, and what else is looked at when somebody asks", async () => {
  const { spool, metrics } = rig();
  const empty = await samples(metrics);
  equal(empty.get("postrider_queue_oldest_age_seconds"), 0);
  await fill(spool);
  const found = await samples(metrics);
  for (
    const [name, value] of Object.entries({
      'postrider_queue_messages{state="ready"}': 2,
      'postrider_queue_messages{state="deferred"}': 0,
      'postrider_queue_messages{state="held"}': 1,
      "postrider_queue_oldest_age_seconds": 73 * 3600,
      "postrider_attempts_active": 3,
      "postrider_destinations_asleep": 1,
      "postrider_disk_free_bytes": 12_345_678,
    })
  ) equal(found.get(name), value, name);
  ok(found.get("process_resident_memory_bytes")! > 10_000_000);
  ok(found.get("process_cpu_seconds_total")! > 0);
  ok([...found.keys()].some((name) => /^postrider_info\{version="[^"]+"\}$/.test(name)));
  metrics.close();
});

Deno.test("metrics: what happens is counted, by who decided", async () => {
  const { metrics } = rig();
  for (const role of ["mx", "mx", "submission"] as const) metrics.sessionBegan(role);
  metrics.sessionEnded("mx");
  metrics.connectionRefused("too-many");
  metrics.replied("rcpt", "dnsbl", 550);
  metrics.replied("rcpt", "dnsbl", 554);
  metrics.replied("rcpt", "greylist", 451);
  metrics.replied("message", "maildir", 250);
  metrics.messageEnded("accepted", 5000);
  metrics.messageEnded("refused", 7000);
  metrics.synced(0.0004);
  const found = await samples(metrics);
  for (
    const [name, value] of Object.entries({
      'postrider_sessions{role="mx"}': 1,
      'postrider_sessions{role="submission"}': 1,
      'postrider_sessions_total{role="mx"}': 2,
      'postrider_connections_refused_total{reason="too-many"}': 1,
      'postrider_replies_total{phase="rcpt",plugin="dnsbl",class="5xx"}': 2,
      'postrider_replies_total{phase="rcpt",plugin="greylist",class="4xx"}': 1,
      'postrider_replies_total{phase="message",plugin="maildir",class="2xx"}': 1,
      'postrider_messages_total{verdict="accepted"}': 1,
      'postrider_messages_total{verdict="refused"}': 1,
      "postrider_message_octets_total": 5000,
      'postrider_fdatasync_seconds_bucket{le="0.00025"}': 0,
      'postrider_fdatasync_seconds_bucket{le="0.0005"}': 1,
    })
  ) equal(found.get(name), value, name);
  metrics.close();
});

Deno.test("metrics: destinations that come often have figures of their own, all others are one", async () => {
  const { metrics } = rig();
  for (let i = 0; i < 5000; i++) metrics.attempted("smtp", `rare${i}.example`, "deferred", 0.2);
  for (let i = 0; i < 30; i++) metrics.attempted("smtp", "often.example", "delivered", 0.2);
  metrics.attempted("maildir", "maildir", "failed", 0.001);
  const found = await samples(metrics);
  const attempts = [...found].filter(([name]) => name.startsWith("postrider_attempts_total"));
  deepEqual(attempts, [
    ['postrider_attempts_total{transport="smtp",destination="other",outcome="deferred"}', 5000],
    ['postrider_attempts_total{transport="smtp",destination="other",outcome="delivered"}', 19],
    ['postrider_attempts_total{transport="smtp",destination="often.example",outcome="delivered"}', 11],
    ['postrider_attempts_total{transport="maildir",destination="other",outcome="failed"}', 1],
  ]);
  equal(found.get('postrider_attempt_seconds_count{transport="smtp"}'), 5030);
  metrics.close();
});

Deno.test("metrics: there are only so many destinations; the series of one that went end", async () => {
  const { metrics, clock } = rig();
  metrics.close(); // or the hours would be half a second each
  const often = (name: string) => {
    for (let i = 0; i < 20; i++) metrics.attempted("smtp", name, "delivered", 0.2);
  };
  for (let i = 0; i < 60; i++) often(`d${i}.example`);
  const count = async () => {
    const named = [...(await samples(metrics)).keys()].filter((name) => /destination="d/.test(name));
    return named.map((name) => /destination="([^"]*)"/.exec(name)![1]!);
  };
  equal((await count()).length, 50);
  await clock.advance("6h");
  often("d98.example"); // those who are silent from here on are found out six hours later
  for (let i = 1; i < 50; i++) often(`d${i}.example`);
  await clock.advance("6h");
  often("d99.example");
  const names = await count();
  equal(names.length, 50);
  ok(names.includes("d99.example") && !names.includes("d0.example"));
});

Deno.test("metrics: labels: one that is spoken of again keeps its name", async () => {
  const clock = new FakeClock();
  const gone: string[] = [];
  const labels = new BoundedLabels(clock, 1, (value) => gone.push(value));
  for (let i = 0; i < 20; i++) labels.labelOf("a");
  for (let window = 0; window < 3; window++) {
    equal(labels.labelOf("a"), "a");
    await clock.advance("6h");
    for (let i = 0; i < 30; i++) equal(labels.labelOf("b"), "other");
  }
  deepEqual(gone, []);
  await clock.advance("6h");
  const last = Array.from({ length: 20 }, () => labels.labelOf("b")).at(-1);
  equal(last, "b");
  deepEqual(gone, ["a"]);
  for (let i = 0; i < 30; i++) equal(labels.labelOf("a"), "other");
});

Deno.test("metrics: how long the server was busy, the longest since it was last asked", async () => {
  let late = 0;
  const clock = new FakeClock(now);
  const monotonic = clock.monotonic.bind(clock);
  clock.monotonic = () => monotonic() + late;
  const metrics = new PrometheusMetrics({
    clock,
    spool: new MemorySpool(clock),
    deliveries: { active: 0, asleep: [] },
    free: () => Promise.resolve(0),
  });
  await clock.advance(400);
  late = 2000; // something has taken two seconds
  await clock.advance(100);
  await clock.advance(1000);
  equal((await samples(metrics)).get("postrider_event_loop_lag_seconds"), 2);
  await clock.advance(1000);
  equal((await samples(metrics)).get("postrider_event_loop_lag_seconds"), 0);
  metrics.close();
});

// ── The port ───────────────────────────────────────────────────────────────────────────────────────

Deno.test("admin: /metrics is Prometheus' text, /healthz is JSON, nothing else is there", () =>
  served(async (url, { health }) => {
    const metrics = await fetch(`${url}/metrics`);
    equal(metrics.status, 200);
    match(metrics.headers.get("content-type")!, /^text\/plain; version=0\.0\.4/);
    match(await metrics.text(), /^# TYPE postrider_sessions gauge$/m);
    const well = await fetch(`${url}/healthz`);
    deepEqual([well.status, await well.json()], [200, { status: "ok" }]);
    health.ill = ["The spool takes no message."];
    const ill = await fetch(`${url}/healthz?x=1`);
    deepEqual([ill.status, await ill.json()], [503, { status: "failing", reasons: health.ill }]);
    for (const [path, method, status] of [["/", "GET", 404], ["/metrics", "POST", 405]] as const) {
      const response = await fetch(url + path, { method });
      await response.body?.cancel();
      equal(response.status, status);
    }
  }));

Deno.test("admin: closing doesn't wait for a monitor that keeps its connection", () =>
  served(async (url, { server }) => {
    using conn = await Deno.connect({ hostname: "127.0.0.1", port: Number(new URL(url).port) });
    await conn.write(new TextEncoder().encode("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"));
    ok(await conn.read(new Uint8Array(1000)) !== null);
    await server.close();
  }));

Deno.test("admin: closing doesn't wait for a look at the server that takes long", () =>
  served(async (url, { server, health }) => {
    const asked = Promise.withResolvers<void>();
    health.reasons = () => {
      asked.resolve();
      return new Promise(() => {});
    };
    const response = fetch(`${url}/healthz`);
    await asked.promise;
    await server.close();
    await rejects(response);
  }));

Deno.test("admin: a port that is taken is told in a sentence", () =>
  served((_url, { server }) => {
    const { metrics } = rig();
    const health = { reasons: () => Promise.resolve([]) };
    const clock = new FakeClock();
    const options = { address: "127.0.0.1", port: server.port, log: memoryLog(), clock, metrics, health };
    throws(() => new AdminServer(options), (error) => {
      ok(error instanceof AdminFailed);
      match(error.message, /of `admin:`, can't be opened: another program listens there/);
      return true;
    });
    metrics.close();
    return Promise.resolve();
  }));

Deno.test("admin: the configuration: absent is off, empty is loopback", () => {
  equal(admin.parse(undefined), undefined);
  deepEqual(admin.parse({}), { address: "127.0.0.1", port: 9090 });
  deepEqual(admin.parse({ address: "::1", port: 0 }), { address: "::1", port: 0 });
  for (const wrong of [{ address: "localhost" }, { port: 70_000 }, { path: "/x" }, true]) {
    equal(admin.safeParse(wrong).success, false, JSON.stringify(wrong));
  }
});

// ── Health ─────────────────────────────────────────────────────────────────────────────────────────

function doorOf(listener: Deno.TcpListener, tls: "none" | "implicit" = "none") {
  return { address: "127.0.0.1", port: listener.addr.port, tls } as const;
}

Deno.test("healthz: well, as long as every listener greets and the spool has room", async () => {
  using greets = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const greeting = (async () => {
    using conn = await greets.accept();
    await conn.write(new TextEncoder().encode("220 mx\r\n"));
  })();
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const spool = new MemorySpool(systemClock);
  const doors = [doorOf(greets), doorOf(silent, "implicit")];
  const health = new Health({ clock: systemClock, spool, doors: () => doors });
  deepEqual(await health.reasons(), []);
  await greeting;
});

Deno.test("healthz: a listener that accepts nothing, one that is closed, a full spool, and a stop are reasons", async () => {
  using hangs = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const closed = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  closed.close();
  const clock = new FakeClock(now);
  const spool = new MemorySpool(clock);
  spool.roomLeft = "full";
  const doors = [doorOf(hangs), doorOf(closed), {
    address: "/nowhere/lmtp.sock",
    port: 0,
    tls: "none" as const,
  }];
  const health = new Health({ clock, spool, doors: () => doors });
  const looked = health.reasons();
  equal(health.reasons(), looked); // one look for both
  using arrived = await hangs.accept(); // and says nothing
  ok(arrived);
  await clock.advance(5_000);
  deepEqual(await looked, [
    `The listener on 127.0.0.1 port ${hangs.addr.port} does not answer.`,
    `The listener on 127.0.0.1 port ${closed.addr.port} does not answer.`,
    "The listener on /nowhere/lmtp.sock does not answer.",
    "The spool takes no message: its disk is full.",
  ]);
  doors.length = 0;
  spool.roomLeft = "room";
  deepEqual(await health.reasons(), ["No listener is open: the server is starting or stopping."]);
});
