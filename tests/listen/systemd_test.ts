import { deepStrictEqual as deepEqual, throws } from "node:assert/strict";
import { passedSockets, socketsNamed } from "../../server/listen/systemd.ts";

const env = (values: Record<string, string>) => new Map(Object.entries(values));

Deno.test("listen: sockets of systemd have their names from descriptor 3 on", () => {
  const LISTEN_PID = "42";
  const sockets = (values: Record<string, string>) => passedSockets(env({ LISTEN_PID, ...values }), 42);
  deepEqual(sockets({ LISTEN_FDS: "2", LISTEN_FDNAMES: "smtp:smtps" }), [
    { name: "smtp", fd: 3 },
    { name: "smtps", fd: 4 },
  ]);
  deepEqual(sockets({ LISTEN_FDS: "2" }), [{ name: "unknown", fd: 3 }, { name: "unknown", fd: 4 }]);
  for (const LISTEN_FDS of ["", "0", "-1", "1e3", "x", "99999"]) deepEqual(sockets({ LISTEN_FDS }), []);
  deepEqual(passedSockets(env({}), 42), []);
  deepEqual(passedSockets(env({ LISTEN_PID: "41", LISTEN_FDS: "1" }), 42), [], "they were another process's");
});

Deno.test("listen: a name that systemd passed no socket under is told, with those there are", () => {
  const passed = [{ name: "smtp", fd: 3 }, { name: "smtp", fd: 4 }, { name: "smtps", fd: 5 }];
  deepEqual(socketsNamed("smtp", passed), [3, 4]);
  throws(() => socketsNamed("submission", passed), {
    name: "ListenError",
    message:
      'systemd passed no socket called "submission", only smtp, smtps: correct `systemd` in `listen:`, or ' +
      "FileDescriptorName= in the socket unit.",
  });
  throws(() => socketsNamed("smtp", []), {
    message:
      "systemd passed no socket to this process: start it by a socket unit, with FileDescriptorName=smtp, " +
      "or give `listen:` a `port`.",
  });
});
