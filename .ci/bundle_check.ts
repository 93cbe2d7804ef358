/**
 * Delivers mail with the bundle: `deno run -A .ci/bundle_check.ts [FILE]`, FILE being what `deno task bundle` made. It logs in
 * with an Argon2id password (one Worker), a plugin of the user's counts in its store (another), attachments are looked into (a third), another one says
 * `import … from "postrider"`, and the mail lies in a Maildir. Then what that plugin imports is changed, and SIGHUP reads it again.
 * Exit code 0, or 1 and a sentence.
 */
import { randomBytes } from "node:crypto";
import { resolve } from "node:path";
import { argon2id } from "hash-wasm";

const bundle = resolve(Deno.args[0] ?? "dist/postrider.js");
/** For all of it, in milliseconds: whatever hangs is a failure. */
const patience = 60_000;

const config = `
hostname: mx.example.test
state: ./state
listen:
  - { port: 0, address: 127.0.0.1, role: submission, allowPlain: true }
log: { format: json }
plugins:
  - use: auth
    with: { users: users.yaml }
  - attachments
  - use: ./by_api.ts
  - use: ./by_import.ts
  - use: maildir
    with: { domains: [example.test], users: any, path: "./mail/{user}" }
`;

const byApi = `
import type { Api } from "postrider";
export default ({ definePlugin, defer }: Api) =>
  definePlugin({
    name: "by-api",
    setup(on, _options, { store }) {
      on("rcpt", async (_session, _recipient, _transaction, { dryRun }) => {
        if (dryRun) return; // the look for an open relay, at start
        if (await store.increment("recipients", 1, { ttl: "1h" }) > 2) return defer("4.3.0", "The store counts wrongly");
      });
    },
  });
`;

const byImport = `
import { definePlugin } from "postrider";
import { spf } from "postrider/facts";
import { word } from "./word.ts";
export default definePlugin({
  name: "by-import",
  setup(on) {
    on("data", (_session, message) => message.prependHeader("X-Imported", typeof spf + word));
  },
});
`;

/** A password hash of few rounds: this is about the Worker, not about its strength. */
function hash(password: string): Promise<string> {
  return argon2id({
    password,
    salt: randomBytes(16),
    memorySize: 1024 * 8,
    iterations: 2,
    parallelism: 1,
    hashLength: 32,
    outputType: "encoded",
  });
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}

/** The line of this event, once the server says it; whatever else it logs is shown should it come to nothing. */
async function logged(
  log: AsyncGenerator<string>,
  seen: string[],
  wanted: string,
): Promise<{ readonly port: number }> {
  // Not `for await`: leaving that would end the generator, and with it the server's log.
  for (let { value: line } = await log.next(); line !== undefined; { value: line } = await log.next()) {
    seen.push(line);
    const { event, port } = JSON.parse(line.startsWith("{") ? line : "{}");
    if (event === wanted) return { port };
  }
  throw new Error(`The server ended before it said "${wanted}".`);
}

/** Sends a dialog's commands one by one; each reply must begin with its code. */
async function converse(
  port: number,
  dialog: readonly (readonly [send: string, code: string])[],
): Promise<void> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const replies = linesOf(connection.readable);
  for (const [send, code] of dialog) {
    if (send !== "") {
      const bytes = new TextEncoder().encode(`${send}\r\n`);
      for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    }
    let line: string;
    do line = (await replies.next()).value ?? ""; while (/^[0-9]{3}-/.test(line));
    if (!line.startsWith(code)) throw new Error(`${send || "(greeting)"}: ${line.trim()}, not ${code}`);
  }
}

async function check(folder: string, port: number, word: string): Promise<void> {
  const login = new TextEncoder().encode("\0alice@example.test\0postrider").toBase64();
  const text = `From: alice@example.test\r\nSubject: ${crypto.randomUUID()}\r\n\r\nBundled.`;
  await converse(port, [
    ["", "220"],
    ["EHLO client.example", "250"],
    [`AUTH PLAIN ${login}`, "235"],
    ["MAIL FROM:<alice@example.test>", "250"],
    ["RCPT TO:<bob@example.test>", "250"],
    ["DATA", "354"],
    [`${text}\r\n.`, "250"],
    ["QUIT", "221"],
  ]);
  const [entry] = await Array.fromAsync(Deno.readDir(`${folder}/mail/bob/new`));
  const delivered = await Deno.readTextFile(`${folder}/mail/bob/new/${entry!.name}`);
  await Deno.remove(`${folder}/mail/bob/new/${entry!.name}`);
  for (const part of [...text.split("\r\n"), `X-Imported: object${word}`]) {
    if (!delivered.includes(part)) throw new Error(`The delivered mail lacks ${JSON.stringify(part)}.`);
  }
}

function writeWord(folder: string, word: string): Promise<void> {
  return Deno.writeTextFile(`${folder}/word.ts`, `export const word: string = ${JSON.stringify(word)};\n`);
}

async function run(folder: string): Promise<void> {
  await Deno.writeTextFile(`${folder}/postrider.yaml`, config);
  await Deno.writeTextFile(`${folder}/by_api.ts`, byApi);
  await Deno.writeTextFile(`${folder}/by_import.ts`, byImport);
  await writeWord(folder, "one");
  await Deno.writeTextFile(
    `${folder}/users.yaml`,
    `alice@example.test: { password: "${await hash("postrider")}" }\n`,
    { mode: 0o600 },
  );
  const server = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", bundle, "serve", "--config", `${folder}/postrider.yaml`],
    cwd: folder,
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const late = setTimeout(() => server.kill("SIGKILL"), patience);
  const seen: string[] = [];
  const log = linesOf(server.stderr);
  try {
    const { port } = await logged(log, seen, "listening");
    await check(folder, port, "one");
    await writeWord(folder, "two");
    server.kill("SIGHUP");
    await logged(log, seen, "reloaded");
    await check(folder, port, "two");
    server.kill("SIGTERM");
    for await (const line of log) seen.push(line);
    const { code } = await server.status;
    if (code !== 0) throw new Error(`The server ended with ${code}.`);
  } catch (error) {
    try {
      server.kill("SIGKILL");
    } catch {
      // It has ended already.
    }
    for await (const line of log) seen.push(line);
    console.error(seen.join("\n"));
    throw error;
  } finally {
    clearTimeout(late);
  }
}

const folder = await Deno.makeTempDir({ prefix: "postrider-bundle-check-" });
try {
  await run(folder);
  console.log(`${bundle} takes, checks and delivers mail.`);
} catch (error) {
  console.error(`${bundle}: ${(error as Error).message}`);
  Deno.exitCode = 1;
} finally {
  await Deno.remove(folder, { recursive: true });
}
