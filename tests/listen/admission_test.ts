import { ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { Admission, clientOf, type Refusal, Ticket } from "../../server/listen/admission.ts";

function admitted(outcome: Ticket | Refusal): Ticket {
  ok(outcome instanceof Ticket, `refused: ${outcome}`);
  return outcome;
}

Deno.test("admission: an address has its limit, others go on", () => {
  const admission = new Admission({ connections: 10, connectionsPerIp: 2 });
  const first = admitted(admission.admit("192.0.2.1"));
  admitted(admission.admit("192.0.2.1"));
  equal(admission.admit("192.0.2.1"), "too-many-from-you");
  equal(admission.admit("::ffff:192.0.2.1"), "too-many-from-you");
  admitted(admission.admit("192.0.2.2"));
  first.release();
  first.release(); // twice is once
  admitted(admission.admit("192.0.2.1"));
  equal(admission.admit("192.0.2.1"), "too-many-from-you");
  equal(admission.connections, 3);
});

Deno.test("admission: IPv6 counts by /64", () => {
  const table: [string, string, boolean][] = [
    ["2001:db8::1", "2001:db8::ffff:0:0:1", true],
    ["2001:db8::1", "2001:db8:0:1::1", false],
    ["2001:db8:0:0:1::", "2001:db8::", true],
    ["::ffff:192.0.2.1", "192.0.2.1", true],
    ["::ffff:192.0.2.1", "::ffff:192.0.2.2", false],
    ["192.0.2.1", "192.0.2.2", false],
  ];
  for (const [a, b, same] of table) equal(clientOf(a) === clientOf(b), same, `${a} ${b}`);
});

Deno.test("admission: the whole is limited whatever the addresses, and limits may change", () => {
  const admission = new Admission({ connections: 2, connectionsPerIp: 2 });
  const one = admitted(admission.admit("192.0.2.1"));
  admitted(admission.admit(undefined));
  equal(admission.admit("192.0.2.3"), "too-many");
  equal(admission.admit(undefined), "too-many");
  admission.limits = { connections: 3, connectionsPerIp: 1 };
  equal(admission.admit("192.0.2.1"), "too-many-from-you");
  one.release();
  admitted(admission.admit("192.0.2.1"));
});

Deno.test("admission: a proxy's connection counts as its client's once that is known", () => {
  const admission = new Admission({ connections: 10, connectionsPerIp: 1 });
  const [first, second] = [admitted(admission.admit(undefined)), admitted(admission.admit(undefined))];
  equal(first.countAs("192.0.2.1"), "admitted");
  equal(first.countAs("192.0.2.1"), "admitted");
  equal(second.countAs("192.0.2.1"), "too-many-from-you");
  first.release();
  equal(first.countAs("192.0.2.1"), "admitted"); // over: counts nowhere
  equal(admission.clients, 0);
  second.release();
  equal(admission.connections, 0);
});

Deno.test("admission C12: whatever came and went, the counters are back at zero", () => {
  const address = fc.constantFrom(
    "192.0.2.1",
    "192.0.2.2",
    "::ffff:192.0.2.1",
    "2001:db8::1",
    "2001:db8::2",
    undefined,
  );
  const step = fc.tuple(fc.constantFrom("admit", "countAs", "release"), address, fc.nat(20));
  fc.assert(fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
    const admission = new Admission({ connections: 8, connectionsPerIp: 3 });
    const tickets: Ticket[] = [];
    for (const [what, address, which] of steps) {
      const ticket = tickets[which % (tickets.length || 1)];
      if (what === "admit") {
        const outcome = admission.admit(address);
        if (outcome instanceof Ticket) tickets.push(outcome);
      } else if (what === "release") ticket?.release();
      else if (address !== undefined) ticket?.countAs(address);
      ok(admission.connections <= 8 && admission.connections >= 0);
    }
    for (const ticket of tickets) ticket.release();
    equal(admission.connections, 0);
    equal(admission.clients, 0);
  }));
});
