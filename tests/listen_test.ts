import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { loadCertificates } from "../server/channel/certificates.ts";
import { type Channel, ChannelLost } from "../server/channel/channel.ts";
import { type Connection, type Listener, type Listeners, openListeners } from "../server/listen.ts";
import {
  type Line,
  type ManualClock,
  manualClock,
  recordingLog,
  testCertificate,
} from "./channel/fixtures.ts";
import { connect, type SocketPeer } from "./channel/peer.ts";

const encode = (text: string) => new TextEncoder().encode(text);

const plain: Listener = { address: "127.0.0.1", port: 0, role: "mx", protocol: "smtp", tls: "none" };
const starttls: Listener = { ...plain, tls: "starttls" };
const implicit: Listener = { ...plain, role: "submission", tls: "implicit" };

interface Running {
  readonly listeners: Listeners;
  readonly clock: ManualClock;
  readonly lines: Line[];
  /** Connects to a listener, by its place. */
  to(index?: number): Promise<SocketPeer>;
  port(index?: number): number;
}

type Serve = (channel: Channel, connection: Connection) => Promise<void>;

interface Setting {
  readonly listen?: readonly Listener[];
  readonly serve?: Serve;
  readonly limits?: { connections: number; connectionsPerIp: number };
  readonly openFiles?: number;
  readonly proxyKind?: (address: string) => "header" | "command" | undefined;
  readonly certificate?: "none";
}

/** Greets, echoes one read, and is done. */
const echo: Serve = async (channel) => {
  await channel.write(encode("220 hello\r\n"));
  const bytes = await channel.read();
  if (bytes) await channel.write(bytes);
};

/** Greets and waits for the client's end. */
const hold: Serve = async (channel) => {
  await channel.write(encode("220 hello\r\n"));
  while (await channel.read() !== undefined);
};

async function running(setting: Setting, use: (running: Running) => Promise<void>): Promise<void> {
  const clock = manualClock();
  const lines: Line[] = [];
  const log = recordingLog(lines);
  const certificates = setting.certificate === "none"
    ? undefined
    : await loadCertificates([testCertificate("mx.example.test")], { clock, log });
  const listeners = await openListeners({
    listeners: setting.listen ?? [plain],
    limits: setting.limits ?? { connections: 100, connectionsPerIp: 50 },
    certificates,
    serve: setting.serve ?? echo,
    refuse: (why) => encode(`421 4.7.0 ${why}\r\n`),
    ...(setting.proxyKind && { proxyKind: setting.proxyKind }),
    clock,
    log,
    openFiles: setting.openFiles ?? 10_000,
  });
  const peers: SocketPeer[] = [];
  const port = (index = 0) => listeners.open[index]!.port;
  try {
    await use({
      listeners,
      clock,
      lines,
      port,
      async to(index) {
        const peer = await connect({ port: port(index) });
        peers.push(peer);
        return peer;
      },
    });
  } finally {
    for (const peer of peers) peer.destroy();
    await Promise.all(peers.map((peer) => peer.closed));
    await listeners.drain(60_000);
  }
  equal(listeners.connections, 0);
  equal(clock.waiting, 0, "no timer stays");
}

async function text(peer: SocketPeer): Promise<string> {
  return new TextDecoder().decode(await peer.read());
}

for (const [kind, listener] of [["Deno.listen", plain], ["node:net", starttls]] as const) {
  Deno.test(`listen ${kind}: serves, says its port, and closes when the session is over`, () =>
    running({ listen: [listener] }, async ({ listeners, to }) => {
      ok(listeners.open[0]!.port > 0);
      equal(listeners.open[0]!.address, "127.0.0.1");
      const peer = await to();
      equal(await text(peer), "220 hello\r\n");
      await peer.write("NOOP\r\n");
      equal(await peer.readAll(), "NOOP\r\n");
    }));

  Deno.test(`listen ${kind}: C12 X01 over its limit an address is told so, and let in again later`, () =>
    running(
      { listen: [listener], serve: hold, limits: { connections: 10, connectionsPerIp: 2 } },
      async (server) => {
        const first = await server.to();
        equal(await text(first), "220 hello\r\n");
        equal(await text(await server.to()), "220 hello\r\n");
        equal(await (await server.to()).readAll(), "421 4.7.0 too-many-from-you\r\n");
        equal(server.listeners.connections, 2);
        first.end();
        equal(await first.readAll(), "");
        equal(await text(await server.to()), "220 hello\r\n");
      },
    ));

  Deno.test(`listen ${kind}: a full server says so; the log tells of the first at once, of the rest in one line`, () =>
    running(
      { listen: [listener], serve: hold, limits: { connections: 1, connectionsPerIp: 50 } },
      async (server) => {
        equal(await text(await server.to()), "220 hello\r\n");
        for (let count = 0; count < 5; count++) {
          equal(await (await server.to()).readAll(), "421 4.7.0 too-many\r\n");
        }
        deepEqual(server.lines.map(({ fields }) => fields.count), [1]);
        server.clock.advance(60_000);
        deepEqual(server.lines.map(({ fields }) => fields.count), [1, 4]);
      },
    ));

  Deno.test(`listen ${kind}: refused clients that don't close are cut off, however many`, () =>
    running(
      { listen: [listener], serve: hold, limits: { connections: 1, connectionsPerIp: 50 } },
      async (server) => {
        await text(await server.to());
        const refused = await Promise.all(Array.from({ length: 60 }, () => server.to()));
        for (const peer of refused) match(await text(peer), /^421 /);
        server.clock.advance(1000);
        // They have read nothing of the end: that they can't write any more is what they notice.
        await Promise.all(refused.map(async (peer) => {
          await rejects(async () => {
            for (;;) await peer.write(new Uint8Array(1000));
          });
        }));
      },
    ));

  Deno.test(`listen ${kind}: a session that fails is logged, its client closed, the others served`, () => {
    const serve: Serve = () => Promise.reject(new Error("broken"));
    return running({ listen: [listener], serve }, async ({ to, lines }) => {
      equal(await (await to()).readAll(), "");
      equal(await (await to()).readAll(), "");
      deepEqual(lines.map(({ level, fields }) => [level, fields.error]), [
        ["error", "Error: broken"],
        ["error", "Error: broken"],
      ]);
    });
  });

  Deno.test(`listen ${kind}: a client that never closes is aborted`, () =>
    running({ listen: [listener] }, async ({ listeners, to, clock }) => {
      const peer = await to();
      await text(peer);
      await peer.write("x");
      equal(await peer.readAll(), "x"); // the server has closed its side
      equal(listeners.connections, 1);
      clock.advance(5000);
      await rejects(async () => {
        for (;;) await peer.write(new Uint8Array(1000));
      });
    }));

  Deno.test(`listen ${kind}: X02 clients that connect and reset don't stop it`, () =>
    running({ listen: [listener] }, async ({ to }) => {
      for (let count = 0; count < 20; count++) {
        await Promise.all(Array.from({ length: 10 }, async () => (await to()).reset()));
      }
      const peer = await to();
      equal(await text(peer), "220 hello\r\n");
    }));

  Deno.test(`listen ${kind}: Q07 drain tells the sessions, and waits for them`, () => {
    let sessions = 0;
    const serve: Serve = async (channel, { draining }) => {
      sessions++;
      await channel.write(encode("220 hello\r\n"));
      await new Promise((resolve) => draining.addEventListener("abort", resolve));
      await channel.write(encode("421 4.3.2 stopping\r\n"));
    };
    return running({ listen: [listener], serve }, async ({ listeners, to, port }) => {
      const peer = await to();
      await text(peer);
      const drained = listeners.drain(30_000);
      equal(await peer.readAll(), "421 4.3.2 stopping\r\n");
      // The port was given up: refused, or taken by another test by now, but never a session of ours.
      await connect({ port: port() }).then((late) => late.reset(), () => {});
      peer.end();
      await drained;
      equal(sessions, 1);
    });
  });

  Deno.test(`listen ${kind}: Q07 after the grace, sessions that go on are aborted`, () => {
    const ended = Promise.withResolvers<unknown>();
    const serve: Serve = async (channel) => {
      await channel.write(encode("220 hello\r\n"));
      await channel.read().catch(ended.resolve);
    };
    return running({ listen: [listener], serve }, async ({ listeners, to, clock }) => {
      await text(await to());
      const grace = clock.nextTimer();
      const drained = listeners.drain(30_000);
      await grace;
      clock.advance(30_000);
      await drained;
      ok(await ended.promise instanceof ChannelLost);
    });
  });
}

Deno.test("listen: STARTTLS and implicit TLS", () => {
  const serve: Serve = async (channel, { listener }) => {
    if (listener.tls === "starttls") await channel.startTls(encode("220 go\r\n"));
    await channel.write(encode(`${listener.tls} ${listener.role} ${channel.tls?.version}\r\n`));
  };
  return running({ listen: [starttls, implicit], serve }, async ({ to }) => {
    const [first, second] = [await to(0), await to(1)];
    await first.startTls("localhost", "220 go\r\n".length);
    equal(await first.readAll(), "starttls mx TLSv1.3\r\n");
    await second.startTls("localhost");
    equal(await second.readAll(), "implicit submission TLSv1.3\r\n");
  });
});

Deno.test("listen: T02 implicit TLS without a handshake is closed at the time-out, and never served", () => {
  const serve: Serve = () => Promise.reject(new Error("served"));
  return running({ listen: [implicit], serve }, async ({ to, listeners, clock, lines }) => {
    const begun = clock.nextTimer();
    const peer = await to();
    await begun;
    equal(listeners.connections, 1);
    clock.advance(30_000);
    equal(await peer.readAll().catch(() => ""), "");
    match(String(lines[0]?.fields.error), /not complete after 30 s/);
  });
});

Deno.test("listen: refused where TLS is implicit: closed without a word in the clear", () =>
  running(
    { listen: [implicit], serve: hold, limits: { connections: 1, connectionsPerIp: 1 } },
    async ({ to }) => {
      const first = await to();
      await first.startTls("localhost");
      equal(await text(first), "220 hello\r\n");
      // Perhaps reset before it knows that it is connected.
      equal(await to().then((peer) => peer.readAll()).catch(() => ""), "");
    },
  ));

Deno.test("listen: T04 without a certificate STARTTLS is not possible, and implicit TLS an error", async () => {
  const serve: Serve = (channel) => channel.write(encode(String(channel.canStartTls)));
  await running({ listen: [starttls], serve, certificate: "none" }, async ({ to }) => {
    equal(await (await to()).readAll(), "false");
  });
  await rejects(running({ listen: [implicit], certificate: "none" }, () => Promise.resolve()), {
    name: "ListenError",
    message: "port 0 on 127.0.0.1 is to speak TLS, and there is no certificate: add `tls: { cert, key }`.",
  });
});

Deno.test("listen: without an address it takes IPv4 too, and shows such clients as IPv4 (R02)", () => {
  const serve: Serve = (channel) =>
    channel.write(encode(`${channel.remote.address} ${channel.local.address}`));
  const anywhere = (tls: "none" | "starttls"): Listener => ({ port: 0, role: "mx", protocol: "smtp", tls });
  return running({ listen: [anywhere("none"), anywhere("starttls")], serve }, async ({ to }) => {
    equal(await (await to(0)).readAll(), "127.0.0.1 127.0.0.1");
    equal(await (await to(1)).readAll(), "127.0.0.1 127.0.0.1");
  });
});

Deno.test("listen: a proxy's clients are counted, not the proxy", () => {
  const serve: Serve = async (channel, { countAs }) => {
    await channel.write(encode(countAs("192.0.2.9")));
    await channel.read();
  };
  const limits = { connections: 10, connectionsPerIp: 1 };
  return running(
    { serve, limits, proxyKind: (address) => address === "127.0.0.1" ? "command" : undefined },
    async ({ to }) => {
      equal(await text(await to()), "admitted");
      equal(await text(await to()), "too-many-from-you");
    },
  );
});

Deno.test("listen: limits are lowered to what the open files allow, with a line in the log", () =>
  running(
    { serve: hold, openFiles: 68, limits: { connections: 100, connectionsPerIp: 50 } },
    async (server) => {
      equal(server.lines[0]?.level, "warning");
      deepEqual(server.lines[0]?.fields, { configured: 100, connections: 2, openFiles: 68, wanted: 264 });
      await text(await server.to());
      server.listeners.limit({ connections: 1, connectionsPerIp: 1 });
      equal(await (await server.to()).readAll(), "421 4.7.0 too-many\r\n");
    },
  ));

Deno.test("listen: a taken port is named, and what was open is closed again", async () => {
  for (const tls of ["none", "starttls"] as const) {
    await running({}, async ({ port }) => {
      const taken = port();
      await rejects(running({ listen: [plain, { ...plain, port: taken, tls }] }, () => Promise.resolve()), {
        name: "ListenError",
        message:
          `port ${taken} on 127.0.0.1 is taken: another program listens there. Stop it, or change \`listen:\`.`,
      });
    });
  }
});

Deno.test("listen: an address that is not this machine's is named", async () => {
  for (const tls of ["none", "starttls"] as const) {
    await rejects(
      running({ listen: [{ ...plain, tls, address: "192.0.2.77" }] }, () => Promise.resolve()),
      /^ListenError: port 0 on 192\.0\.2\.77 can't be opened: this machine has no such address\./,
    );
  }
});

Deno.test("listen: a Unix socket; one left behind is replaced, one in use is not, a file never", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/lmtp.sock`;
  const local: Listener = { path, role: "mx", protocol: "lmtp", tls: "starttls" };
  try {
    const serve: Serve = (channel) =>
      channel.write(encode(`${channel.remote.address} ${channel.canStartTls}`));
    const served = () =>
      running({ listen: [local], serve }, async ({ listeners }) => {
        equal(listeners.open[0]!.address, path);
        const peer = await connect({ path });
        equal(await peer.readAll(), "unix false");
        peer.destroy();
        await peer.closed;
        await rejects(running({ listen: [local] }, () => Promise.resolve()), /lmtp\.sock is in use/);
      });
    await served();
    await rejects(Deno.stat(path), Deno.errors.NotFound);
    // What a killed server leaves behind: the socket's name, and nobody behind it.
    const killed = Deno.listen({ transport: "unix", path: `${path}.old` });
    await Deno.rename(`${path}.old`, path);
    killed.close();
    await served();
    await Deno.writeTextFile(path, "precious");
    await rejects(running({ listen: [local] }, () => Promise.resolve()), /lmtp\.sock is there and no socket/);
    equal(await Deno.readTextFile(path), "precious");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("listen: X02 descriptors run out and come back: both kinds of listener serve again", async () => {
  const child = new Deno.Command("sh", {
    args: [
      "-c",
      'ulimit -n 80; exec "$0" run -A --quiet "$1"',
      Deno.execPath(),
      new URL("listen_exhausted.ts", import.meta.url).href,
    ],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const stdin = child.stdin.getWriter();
  const stdout = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const line = async () => (await stdout.read()).value?.trim();
  const say = async (command: string) => {
    await stdin.write(encode(`${command}\n`));
    return await line();
  };
  const ports = (await line())!.split(" ").map(Number);
  const greeted = async (port: number) => {
    const peer = await connect({ port });
    const greeting = await peer.readAll();
    peer.destroy();
    await peer.closed;
    return greeting;
  };
  try {
    for (const port of ports) equal(await greeted(port), "220 hello\r\n");
    equal(await say("fill"), "full");
    // The kernel completes these; the server can't accept them yet, and says so of the second.
    const waiting = [await connect({ port: ports[1]! }), await connect({ port: ports[0]! })];
    match((await line())!, /^connections can't be accepted/);
    equal(await say("free"), "free");
    for (const peer of waiting) {
      equal(await peer.readAll(), "220 hello\r\n");
      peer.destroy();
      await peer.closed;
    }
    for (const port of ports) equal(await greeted(port), "220 hello\r\n");
  } finally {
    await stdin.close();
    await child.status;
    await stdout.cancel();
  }
});
