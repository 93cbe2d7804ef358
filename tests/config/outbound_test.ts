/** `outbound:` of the configuration. */
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { z } from "zod";
import { outbound } from "../../server/config/outbound.ts";

Deno.test("outbound: the defaults are the design's", () => {
  const minute = 60_000, hour = 60 * minute;
  const { retry, route, tls, ...rest } = outbound.parse({});
  deepEqual(retry.waits, [
    minute,
    5 * minute,
    5 * minute,
    ...new Array(4).fill(15 * minute),
    ...new Array(8).fill(hour),
    4 * hour,
  ]);
  deepEqual([route.size, tls.size], [0, 0]);
  deepEqual(rest, {
    giveUpAfter: 5 * 24 * hour,
    delayNoticeAfter: 4 * hour,
    concurrency: { total: 200, perDestination: 20 },
    port: 25,
    allowPrivateAddresses: false,
    eightBit: "send",
    mtaSts: true,
  });
  deepEqual(outbound.parse(undefined), outbound.parse({}));
});

Deno.test("outbound: what can be written", () => {
  const { route, tls } = outbound.parse({
    route: {
      "*": { host: "SmartHost.example.net", port: 587, auth: { user: "u", passwordFile: "/etc/pw" } },
      "*.Straße.de": { source: "192.0.2.1", helo: "out.example.org" },
      "[192.0.2.7]": { host: "2001:DB8:0::1", tls: "none" },
    },
    tls: { "*": "opportunistic", "bank.example": "required" },
  });
  deepEqual(Object.fromEntries(route), {
    "*": { host: "smarthost.example.net", port: 587, auth: { user: "u", passwordFile: "/etc/pw" } },
    "*.xn--strae-oqa.de": { source: "192.0.2.1", helo: "out.example.org" },
    "[192.0.2.7]": { host: "2001:db8::1", tls: "none" },
  });
  deepEqual([...tls], [["*", "opportunistic"], ["bank.example", "required"]]);
});

Deno.test("outbound: each mistake is named where it stands", () => {
  const table: [unknown, string][] = [
    [
      { retry: ["5m", "5 min"] },
      'retry.1: "5 min" is not a wait such as 5m, or 5m x2 for twice: did you mean "5m"?',
    ],
    [{ retry: [] }, "retry: "],
    [{ giveUpAfter: "0s" }, "giveUpAfter: must be more than nothing"],
    [{ giveUpAfter: "31d" }, "giveUpAfter: must be at most 30d"],
    [
      { route: { "exa mple": { host: "a.example" } } },
      'route.exa mple: "exa mple" is not a domain: write example.org, *.example.org for those below it, or * for all others',
    ],
    [
      { route: { "a.example": { host: "x.example" }, "A.example": {} } },
      'route.A.example: "A.example" stands here twice',
    ],
    [
      { route: { "*": { host: "smart.example:587" } } },
      'route.*.host: "smart.example:587" is not a host such as smarthost.example.net, or an IP address; its port stands beside it',
    ],
    [{ route: { "*": { port: 25 } } }, 'route.*.port: needs a "host" beside it'],
    [{ route: { "*": { auth: { user: "u", password: "p" } } } }, 'route.*.auth: needs a "host" beside it'],
    [
      { route: { "*": { host: "a.example", auth: { user: "u" } } } },
      'route.*.auth: needs a "password" or a "passwordFile", one of them',
    ],
    [
      { route: { "*": { host: "a.example", auth: { user: "u", password: "p", passwordFile: "f" } } } },
      'route.*.auth: needs a "password" or a "passwordFile", one of them',
    ],
    [{ route: { "*": { tls: "implicit" } } }, 'route.*.tls: MX hosts have no implicit TLS: write "required"'],
    [{ route: { "*": { source: "lo" } } }, 'route.*.source: "lo" is not an IP address of this machine'],
    [{ route: { "*": { helo: "a b" } } }, 'route.*.helo: "a b" is not a host name such as out1.example.org'],
    [{ concurrency: { total: 5 } }, "concurrency.perDestination: is more than the total, 5"],
    [{ tls: { "*": "maybe" } }, "tls.*: "],
    [{ port: 0 }, "port: "],
    [{ retries: 3 }, ": "],
  ];
  for (const [given, expected] of table) {
    const result = outbound.safeParse(given);
    const issues = result.error?.issues.map(({ path, message }) => `${path.join(".")}: ${message}`) ?? [];
    equal(issues.length, 1, JSON.stringify(issues));
    ok(issues[0]!.startsWith(expected), issues[0]);
  }
});

Deno.test("outbound: its JSON Schema is of what is written", () => {
  const schema = z.toJSONSchema(outbound, { io: "input", unrepresentable: "any" });
  const { properties } = schema as { properties: Record<string, { type?: string }> };
  equal(properties["route"]?.type, "object");
  equal(properties["retry"]?.type, "array");
});
