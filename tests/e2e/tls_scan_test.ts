/** What scanners say of our TLS: testssl.sh and sslscan, on STARTTLS and on implicit TLS. */
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { makeCertificate } from "./certificate.ts";
import { makeFolder } from "./folder.ts";
import { run } from "./programs.ts";
import { ServerProcess } from "./server.ts";
import { writeSettings } from "./small_server.ts";

const address = "127.0.0.1";
const doors = ["starttls", "implicit"] as const;

interface Finding {
  readonly id: string;
  readonly severity: string;
  readonly finding: string;
}

/** With less severity, or with none: what the scanner's own OpenSSL can't do, for instance. */
const harmless = new Set(["OK", "INFO", "LOW", "WARN", "DEBUG"]);

/** The text of each attribute of each such element. */
function attributes(xml: string, element: string): Record<string, string>[] {
  return [...xml.matchAll(new RegExp(`<${element} ([^>]*?)/?>`, "g"))].map(([, text]) =>
    Object.fromEntries(
      [...text!.matchAll(/([A-Za-z-]+)="([^"]*)"/g)].map(([, name, value]) => [name!, value!]),
    )
  );
}

type Door = typeof doors[number];

async function sslscan(where: string, door: Door): Promise<void> {
  const how = door === "starttls" ? ["--starttls-smtp"] : [];
  const { code, stdout } = await run("sslscan", ["--no-colour", "--xml=-", ...how, where]);
  equal(code, 0, stdout);
  const enabled = attributes(stdout, "protocol").filter(({ enabled }) => enabled === "1");
  deepEqual(enabled.map(({ type, version }) => `${type} ${version}`), ["tls 1.2", "tls 1.3"], door);
  const ciphers = attributes(stdout, "cipher");
  ok(ciphers.length > 0);
  for (const { cipher, bits, sslversion } of ciphers) {
    const name = `${door}: ${sslversion} ${cipher}`;
    ok(Number(bits) >= 128 && /GCM|CHACHA20/.test(cipher!), name);
    ok(sslversion === "TLSv1.3" || cipher!.startsWith("ECDHE-"), `${name} has no forward secrecy`);
  }
  for (const { supported } of attributes(stdout, "compression")) equal(supported, "0", stdout);
  for (const { vulnerable } of attributes(stdout, "heartbleed")) equal(vulnerable, "0", stdout);
  for (const { supported, secure } of attributes(stdout, "renegotiation")) {
    ok(supported === "0" || secure === "1", stdout);
  }
}

/** Protocols, ciphers, forward secrecy, vulnerabilities. Not the certificate, which is the test's own. */
async function testssl(where: string, door: Door, file: string): Promise<void> {
  const how = door === "starttls" ? ["-t", "smtp"] : [];
  const { code, stdout } = await run("testssl", [
    ...["--quiet", "--color", "0", "--warnings", "off", "--ip", "one"],
    ...["-p", "-s", "-f", "-U", "--jsonfile", file, ...how, where],
  ]);
  ok(code < 245, stdout); // 245 and more are its own failures; below it is a count of findings
  const findings: Finding[] = JSON.parse(await Deno.readTextFile(file));
  ok(findings.some(({ id, severity }) => id === "TLS1_3" && severity === "OK"), stdout);
  ok(findings.length > 25, `only ${findings.length} findings: ${stdout}`);
  deepEqual(findings.filter(({ severity }) => !harmless.has(severity)), [], door);
}

Deno.test("T03 testssl.sh and sslscan find nothing on either kind of listener", async () => {
  await using folder = await makeFolder();
  await makeCertificate(folder, "mx.example.test");
  const config = await writeSettings(folder, {
    listen: doors.map((tls) => ({ port: 0, address, tls })),
    tls: { cert: "cert.pem", key: "key.pem" },
    limits: { connectionsPerIp: 200 },
  });
  await using server = await ServerProcess.start(config, { listeners: 2 });
  await Promise.all(doors.map(async (door, index) => {
    const where = `${address}:${server.port(index)}`;
    await sslscan(where, door);
    await testssl(where, door, folder.at(`${door}.json`));
  }));
  equal(await server.stop(), 0);
});
