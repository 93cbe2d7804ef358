import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { main } from "../../server/cli/main.ts";
import { systemCli } from "../../server/cli/io.ts";
import { mailboxes, testServer } from "../../server/testing/mod.ts";
import { letter } from "../plugins/authentication/rig.ts";

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function inFolder(
  test: (run: (...args: string[]) => Promise<Run>, folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  const run = async (...args: string[]): Promise<Run> => {
    let [out, err] = ["", ""];
    const code = await main(["dkim", ...args], {
      ...systemCli,
      stdout: { ...systemCli.stdout, write: (text) => void (out += text) },
      stderr: { ...systemCli.stderr, write: (text) => void (err += text) },
    });
    return { code, out, err };
  };
  try {
    await test(run, folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The TXT records of a zone file, strings joined. */
function zone(text: string): Record<string, { TXT: string[] }> {
  const records = [...text.matchAll(/^(\S+)\. IN TXT ((?:\( )?(?:\s*"[^"]{1,255}")+(?: \))?)$/gm)];
  return Object.fromEntries(
    records.map((
      [, name, strings],
    ) => [name, { TXT: [[...strings!.matchAll(/"([^"]*)"/g)].map(([, one]) => one).join("")] }]),
  );
}

for (const type of ["rsa", "ed25519"] as const) {
  Deno.test(`dkim keygen: a key of ${type} signs, and with the record it prints its signatures verify`, () =>
    inFolder(async (run, folder) => {
      const key = `${folder}/keys/s1.pem`;
      const made = await run("keygen", "example.net", "s1", "--type", type, "--out", key);
      equal(made.code, 0, made.err);
      equal((await Deno.stat(key)).mode! & 0o777, 0o600);
      const keys = [{ domain: "example.net", selector: "s1", key }];
      await using signing = await testServer({
        plugins: [["dkim-sign", { keys }], mailboxes(["example.org"])],
        trustedNetworks: ["192.0.2.1"],
      });
      await signing.send({ to: "bob@example.org", content: letter });
      await using receiving = await testServer({
        plugins: ["dkim", mailboxes(["example.org"])],
        dns: zone(made.out),
      });
      await receiving.send({ to: "bob@example.org", content: signing.delivered[0]!.content });
      ok(receiving.delivered[0]!.content.includes("dkim=pass"), made.out);
    }));
}

Deno.test("dkim keygen: a file that is there is never overwritten", () =>
  inFolder(async (run, folder) => {
    const out = `${folder}/k.pem`;
    await Deno.writeTextFile(out, "precious");
    const { code, err } = await run("keygen", "example.net", "s1", "--out", out);
    equal(code, 1);
    match(err, /k\.pem is there already\. It is never overwritten/);
    equal(await Deno.readTextFile(out), "precious");
  }));

Deno.test("dkim keygen: of a configuration's keys those that are missing are made; records prints all", () =>
  inFolder(async (run, folder) => {
    const config = `${folder}/c.yaml`;
    await Deno.writeTextFile(
      config,
      "plugins:\n  - use: arc\n    with: { seal: { domain: example.org, selector: a1, key: k/a.pem } }\n" +
        "  - use: dkim-sign\n    with: { keys: [{ domain: example.org, selector: s1, key: k/s.pem }] }\n",
    );
    const before = await run("records", "--config", config);
    equal(before.code, 1);
    match(before.err, /k\/a\.pem: there is no such file/);
    const made = await run("keygen", "--config", config, "--type", "ed25519");
    equal(made.code, 0, made.err);
    deepEqual(Object.keys(zone(made.out)), ["a1._domainkey.example.org", "s1._domainkey.example.org"]);
    equal((await run("keygen", "--config", config)).out, "");
    equal((await run("records", "--config", config)).out, made.out);
    await Deno.remove(`${folder}/k/s.pem`);
    deepEqual(Object.keys(zone((await run("keygen", "example.org", "s1", "--config", config)).out)), [
      "s1._domainkey.example.org",
    ]);
  }));

Deno.test("dkim keygen: what is wrong with the command or the configuration is said, with exit code 2", () =>
  inFolder(async (run, folder) => {
    const config = `${folder}/c.yaml`;
    const wrong = async (why: RegExp, ...args: string[]) => {
      const { code, err } = await run(...args);
      equal(code, 2, err);
      match(err, why);
    };
    await wrong(/Which key\?/, "keygen");
    await wrong(/A key has a domain and a selector/, "keygen", "example.org");
    await wrong(/"example" is not a domain such as example\.org/, "keygen", "example", "s1");
    await wrong(/"s_1" is not a selector/, "keygen", "example.org", "s_1");
    await wrong(/c\.yaml:1:1: this file does not exist/, "keygen", "--config", config);
    await Deno.writeTextFile(config, "plugins: [discard]\n");
    await wrong(/names no key: neither/, "keygen", "--config", config);
    await Deno.writeTextFile(
      config,
      "plugins:\n  - use: dkim-sign\n    with: { keys: [{ domain: x, selector: a, key: k }] }\n",
    );
    await wrong(
      /c\.yaml:3:28: plugins\[0\]\.with\.keys\[0\]\.domain|"x" is not a domain/,
      "records",
      "--config",
      config,
    );
  }));
