/** Clients that show a certificate,: the right one, another's, an expired one, one that cannot be believed, none. */
import { deepStrictEqual as deepEqual, match, strictEqual as equal } from "node:assert/strict";
import { makeCertificate } from "./certificate.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { type Ended, run } from "./programs.ts";
import { postrider, ServerProcess } from "./server.ts";
import { maildir, writeSettings } from "./small_server.ts";

const address = "127.0.0.1";

async function openssl(folder: Folder, ...args: string[]): Promise<void> {
  const { code, stderr } = await run("openssl", args, { cwd: folder.path });
  equal(code, 0, stderr);
}

const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

async function authority(folder: Folder, name: string): Promise<void> {
  await openssl(
    folder,
    ...["req", "-x509", ...newKey, "-keyout", `${name}.key`, "-out", `${name}.pem`, "-days", "30"],
    ...["-subj", "/CN=Clients", "-addext", "keyUsage=critical,keyCertSign"], // the same name for all
  );
}

/** A certificate for `NAME.example.test`; `usage` absent: of X.509 version 1. */
async function issue(folder: Folder, name: string, by: string, usage?: string, days = 30): Promise<void> {
  await openssl(
    folder,
    "req",
    ...newKey,
    "-keyout",
    `${name}.key`,
    "-out",
    `${name}.csr`,
    "-subj",
    `/CN=${name}`,
  );
  await folder.write(`${name}.ext`, `subjectAltName=DNS:${name}.example.test\nextendedKeyUsage=${usage}\n`);
  await openssl(
    folder,
    ...["x509", "-req", "-in", `${name}.csr`, "-CA", `${by}.pem`, "-CAkey", `${by}.key`, "-CAcreateserial"],
    ...["-out", `${name}.pem`, "-days", String(days), ...(usage ? ["-extfile", `${name}.ext`] : [])],
  );
}

async function fingerprint(folder: Folder, name: string): Promise<string> {
  const { stdout } = await run("openssl", [
    "x509",
    "-in",
    folder.at(`${name}.pem`),
    "-noout",
    "-fingerprint",
    "-sha256",
  ]);
  return stdout.trim().split("=")[1]!;
}

async function certificates(folder: Folder): Promise<void> {
  await makeCertificate(folder, "mx.example.test");
  await Promise.all([authority(folder, "ca"), authority(folder, "impostor")]);
  await issue(folder, "printer", "ca", "clientAuth");
  await issue(folder, "scanner", "ca", "clientAuth");
  await issue(folder, "website", "ca", "serverAuth");
  await issue(folder, "late", "ca", "clientAuth", -1);
  await issue(folder, "printed", "impostor", "clientAuth");
  await issue(folder, "forged", "impostor"); // the runtime believes in its issuer's name
  await openssl(
    folder,
    ...[
      "req",
      "-x509",
      ...newKey,
      "-keyout",
      "own.key",
      "-out",
      "own.pem",
      "-days",
      "30",
      "-subj",
      "/CN=own",
    ],
    ...["-addext", "subjectAltName=DNS:printer.example.test"],
  );
}

function swaks(folder: Folder, port: number, who: string | undefined, ...how: string[]): Promise<Ended> {
  const shown = who ? ["--tls-cert", folder.at(`${who}.pem`), "--tls-key", folder.at(`${who}.key`)] : [];
  return run("swaks", [
    ...["--server", address, "--port", String(port), "--helo", "client.test", "--timeout", "30s"],
    ...["--from", "a@example.test", "--to", "b@elsewhere.test", "--quit-after", "RCPT", ...shown, ...how],
  ]);
}

Deno.test("client certificates: who may relay by name, by fingerprint, and who may not", async (t) => {
  await using folder = await makeFolder();
  await certificates(folder);
  const allowed = [
    "printer.example.test",
    "forged.example.test",
    "website.example.test",
    "late.example.test",
  ];
  const prints = [await fingerprint(folder, "own"), await fingerprint(folder, "forged")];
  const clientCertificates = { ca: "ca.pem" };
  const config = await writeSettings(folder, {
    listen: [
      { port: 0, address, clientCertificates },
      { port: 0, address, tls: "implicit", clientCertificates },
      { port: 0, address },
    ],
    tls: [{ cert: "cert.pem", key: "key.pem" }, {
      cert: "cert.pem",
      key: "key.pem",
      names: ["two.example.test"],
    }],
    plugins: [{ use: "relay", with: { certificates: [...allowed, ...prints] } }, maildir],
  });
  await using server = await ServerProcess.start(config, { listeners: 3 });
  const ways = [[0, "--tls"], [1, "--tls-on-connect"], [
    0,
    "--tls",
    "--tls-sni",
    "two.example.test",
  ]] as const;
  const fates: [who: string | undefined, relays: boolean][] = [
    ["printer", true],
    ["own", true], // nobody vouches for it, but it is the very one
    ["scanner", false], // trusted, and not listed
    ["website", false], // not for clients
    ["late", false],
    ["printed", false], // of an authority of the same name
    ["forged", false], // the listed fingerprint, too: it proves nothing
    [undefined, false],
  ];
  for (const [who, relays] of fates) {
    for (const [door, ...how] of ways) {
      await t.step(`${who ?? "nobody"} ${how.join(" ")}`, async () => {
        const { stdout } = await swaks(folder, server.port(door), who, ...how);
        match(stdout, relays ? /250 2\.1\.5/ : /550 5\.7\.1/);
      });
    }
  }
  await t.step("who isn't asked shows nothing", async () => {
    const { stdout } = await swaks(folder, server.port(2), "printer", "--tls");
    match(stdout, /550 5\.7\.1/);
  });
});

Deno.test("client certificates: required, a connection without a trusted one says nothing", async () => {
  await using folder = await makeFolder();
  await certificates(folder);
  const clientCertificates = { ca: "ca.pem", required: true };
  const config = await writeSettings(folder, {
    listen: [{ port: 0, address, tls: "implicit", clientCertificates }],
    tls: { cert: "cert.pem", key: "key.pem" },
  });
  await using server = await ServerProcess.start(config);
  const heard: boolean[] = [];
  for (const who of ["printer", "printed", "forged", "late", "own", undefined]) {
    const { stdout } = await swaks(folder, server.port(), who, "--tls-on-connect");
    heard.push(/^<~ {2}220 /m.test(stdout));
  }
  deepEqual(heard, [true, false, false, false, false, false]);
});

Deno.test("client certificates: a file of authorities that can't be read is named at start", async () => {
  await using folder = await makeFolder();
  await makeCertificate(folder, "mx.example.test");
  await folder.write("empty.pem", "nothing\n");
  for (
    const [ca, why] of [["none.pem", /none\.pem does not exist/], [
      "empty.pem",
      /empty\.pem holds no certificate/,
    ]] as const
  ) {
    const config = await writeSettings(folder, {
      listen: [{ port: 0, address, clientCertificates: { ca } }],
      tls: { cert: "cert.pem", key: "key.pem" },
    });
    const { code, stderr } = await postrider(["serve", "--config", config]);
    equal(code, 1);
    match(stderr, why);
  }
});
