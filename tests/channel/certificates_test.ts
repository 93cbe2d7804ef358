import { match, notStrictEqual as notEqual, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { createServer, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import {
  type CertificateEntry,
  type Certificates,
  choose,
  loadCertificates,
} from "../../server/channel/certificates.ts";
import { TlsAcceptor } from "../../server/channel/node.ts";
import { type Line, manualClock, recordingLog, silentLog, testCertificate } from "./fixtures.ts";
import { connect } from "./peer.ts";

const mx = testCertificate("mx.example.test");
const other = testCertificate("other.example.test");
const load = (entries: CertificateEntry[]) =>
  loadCertificates(entries, { clock: manualClock(), log: silentLog });

async function inFolder(use: (folder: string, entry: CertificateEntry) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const entry = { cert: `${folder}/cert.pem`, key: `${folder}/key.pem` };
    await install(mx, entry);
    await use(folder, entry);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function install(from: CertificateEntry, to: CertificateEntry): Promise<void> {
  await Deno.copyFile(from.cert, to.cert);
  await Deno.copyFile(from.key, to.key);
}

/** Serves handshakes; `names` says which certificate's name clients that asked for `names` were shown. */
async function serving(
  certificates: Certificates,
  use: (shown: (serverName: string) => Promise<string | undefined>) => Promise<void>,
): Promise<void> {
  const acceptor = new TlsAcceptor(certificates, manualClock(), 30_000);
  const sockets: Promise<unknown>[] = [];
  const server = createServer({ pauseOnConnect: true }, (socket: Socket) => {
    sockets.push(new Promise((resolve) => socket.on("close", resolve)));
    acceptor.encrypt(socket).then((encrypted) => encrypted.end("bye"));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    await use(async (serverName) => {
      const peer = await connect({ port });
      const { serverName: shown } = await peer.startTls(serverName);
      equal(await peer.readAll(), "bye");
      peer.end();
      await peer.closed;
      return shown;
    });
  } finally {
    await Promise.all([...sockets, new Promise((resolve) => server.close(resolve))]);
  }
}

Deno.test("certificates T03: SNI picks by name, a strange name gets the first", async () => {
  await serving(await load([mx, other]), async (shown) => {
    equal(await shown("other.example.test"), "other.example.test");
    equal(await shown("a.wild.example.test"), "other.example.test");
    equal(await shown("MX.example.test"), "mx.example.test");
    equal(await shown("stranger.example.test"), "mx.example.test");
  });
});

Deno.test("certificates T03: names of the configuration replace the certificate's own", async () => {
  await serving(await load([mx, { ...other, names: ["Mail.Example.Test"] }]), async (shown) => {
    equal(await shown("mail.example.test"), "other.example.test");
    equal(await shown("other.example.test"), "mx.example.test");
  });
});

Deno.test("certificates: a wildcard is one label, an exact name comes before it", () => {
  const list = [{ names: ["a.test"] }, { names: ["*.b.test"] }, { names: ["x.b.test"] }];
  const table: [string, number][] = [
    ["a.test", 0],
    ["y.b.test", 1],
    ["Y.B.test", 1],
    ["x.b.test", 2],
    ["b.test", 0],
    ["y.z.b.test", 0],
    [".b.test", 0],
    ["", 0],
  ];
  for (const [name, index] of table) equal(choose(list, name), index, name);
});

Deno.test("certificates T03: what is wrong is said with the file's name", async () => {
  await rejects(load([{ cert: mx.cert, key: other.key }]), {
    message: `the private key ${other.key} does not belong to the certificate ${mx.cert}`,
  });
  await rejects(load([{ cert: "/nonexistent/cert.pem", key: mx.key }]), {
    message: "the certificate /nonexistent/cert.pem does not exist",
  });
  await rejects(load([{ cert: mx.key, key: mx.key }]), (error: Error) => {
    match(error.message, /mx\.example\.test\.key\.pem is no certificate in PEM form: /);
    return true;
  });
  await rejects(load([{ cert: mx.cert, key: mx.cert }]), (error: Error) => {
    match(error.message, /mx\.example\.test\.cert\.pem is no private key in PEM form: /);
    return true;
  });
});

Deno.test("certificates: an expired one is used, with a warning", async () => {
  const lines: Line[] = [];
  const clock = manualClock(Date.UTC(2300, 0, 1));
  await loadCertificates([mx], { clock, log: recordingLog(lines) });
  equal(lines.length, 1);
  equal(lines[0]?.level, "warning");
  equal(lines[0]?.fields.file, mx.cert);
});

Deno.test("certificates T03: reload takes all or nothing", () =>
  inFolder(async (_folder, entry) => {
    const certificates = await load([entry]);
    await serving(certificates, async (shown) => {
      equal(await shown("localhost"), "mx.example.test");
      const before = certificates.options;
      await Deno.copyFile(other.cert, entry.cert); // the key is still the old one
      await rejects(certificates.reload(), /does not belong/);
      equal(certificates.options, before);
      equal(await shown("localhost"), "mx.example.test");
      await Deno.copyFile(other.key, entry.key);
      await certificates.reload();
      notEqual(certificates.options, before);
      equal(await shown("localhost"), "other.example.test");
    });
  }));

Deno.test("certificates T03: reloads under load fail no handshake", () =>
  inFolder(async (_folder, entry) => {
    const certificates = await load([entry]);
    await serving(certificates, async (shown) => {
      const seen = new Set<string | undefined>();
      let going = true;
      const clients = Array.from({ length: 4 }, async () => {
        while (going) seen.add(await shown("localhost"));
      });
      for (let count = 0; count < 20; count++) {
        await install(count % 2 === 0 ? other : mx, entry);
        await certificates.reload();
        await shown("localhost");
      }
      going = false;
      await Promise.all(clients);
      ok(seen.has("mx.example.test") && seen.has("other.example.test"));
    });
  }));

Deno.test("certificates: changed files are read again once they have settled", () =>
  inFolder(async (_folder, entry) => {
    const clock = manualClock();
    const certificates = await loadCertificates([entry], { clock, log: silentLog });
    const before = certificates.options;
    /** The system tells of one change in several events, at any time: each may start a wait. */
    const settled = async (told: Promise<"reloaded" | Error>): Promise<"reloaded" | Error> => {
      for (;;) {
        const timer = clock.nextTimer();
        clock.advance(1000);
        const said = await Promise.race([told, timer]);
        if (said !== undefined) return said;
      }
    };
    let told = Promise.withResolvers<"reloaded" | Error>();
    const stop = certificates.watch(() => told.resolve("reloaded"), (error) => told.resolve(error));
    try {
      const timer = clock.nextTimer();
      await install(other, entry);
      await timer;
      equal(certificates.options, before); // not before they have settled
      equal(await settled(told.promise), "reloaded");
      notEqual(certificates.options, before);

      const good = certificates.options;
      told = Promise.withResolvers();
      await Deno.writeTextFile(`${entry.key}.new`, "not a key");
      await Deno.rename(`${entry.key}.new`, entry.key); // as ACME clients do
      const failed = await settled(told.promise);
      ok(failed instanceof Error && failed.message.includes(entry.key));
      equal(certificates.options, good);
    } finally {
      stop();
    }
    equal(clock.waiting, 0);
  }));
