/** `dkim keygen|records`: the keys of `dkim-sign` and `arc`, and what the DNS has to say of them. */
import { generateKeyPair } from "node:crypto";
import { dirname } from "node:path";
import { promisify } from "node:util";
import arc from "../../plugins/arc/mod.ts";
import { type KeyOption, keyOption, readKey } from "../../plugins/authentication/keys.ts";
import dkimSign from "../../plugins/dkim_sign/mod.ts";
import { config } from "../config/config.ts";
import { formatProblem, type Problem, readSource, readValue, type Source } from "../config/read.ts";
import { type ExitCode, ownerFor, type UserIo } from "./user.ts";

/** What the command line says. */
export interface DkimOptions {
  /** The configuration whose keys are meant, as given. */
  readonly config?: string | undefined;
  /** One key only. */
  readonly domain?: string | undefined;
  readonly selector?: string | undefined;
  readonly type?: "rsa" | "ed25519";
  /** Where a key without configuration is written to. */
  readonly out?: string | undefined;
}

type Say = (text: string, code: ExitCode) => ExitCode;

interface Named {
  readonly keys: readonly KeyOption[];
  /** Who is to read new files: the server does so after it has given up its privileges. */
  readonly owner?: Owner;
}

type Owner = Awaited<ReturnType<typeof ownerFor>>;

/**
 * Makes private keys, and prints the DNS records they need. A file that is there is never overwritten.
 *
 * @returns The exit code; all that is to be said is on `io.stdout` and `io.stderr` by then.
 */
export async function dkimKeygen(options: DkimOptions, io: UserIo): Promise<ExitCode> {
  const say = sayer(io);
  const { type = "rsa" } = options;
  if ((options.domain === undefined) !== (options.selector === undefined)) {
    return say("A key has a domain and a selector: `dkim keygen example.org s2026`.", 2);
  }
  const named = options.config === undefined ? fromArguments(options) : await fromConfig(options.config, io);
  if ("problem" in named) return say(named.problem, 2);
  const wanted = chosen(named.keys, options);
  if (wanted.length === 0) return say(noneChosen(options), 2);
  const made: KeyOption[] = [];
  for (const one of wanted) {
    const outcome = await write(one.key, type, named.owner);
    if (outcome === "written") made.push(one);
    else if (outcome !== "exists") return say(outcome, 1);
    else if (options.domain !== undefined) {
      return say(`${one.key} is there already. It is never overwritten: a new key gets a new selector.`, 1);
    }
  }
  if (made.length === 0) return say("All keys are there. `dkim records` prints what the DNS has to say.", 0);
  for (const one of made) {
    io.stderr.write(`${one.key} was written. This has to be in the DNS before it signs:\n`);
    await printRecord(one, io);
  }
  if (options.config === undefined) {
    io.stderr.write(`And this among the keys of \`dkim-sign\`:\n${made.map(inYaml).join("")}`);
  }
  return 0;
}

/** Prints the DNS records of a configuration's keys. @returns The exit code. */
export async function dkimRecords(
  options: DkimOptions & { readonly config: string },
  io: UserIo,
): Promise<ExitCode> {
  const say = sayer(io);
  const named = await fromConfig(options.config, io);
  if ("problem" in named) return say(named.problem, 2);
  let code: ExitCode = 0;
  for (const one of named.keys) {
    try {
      await printRecord(one, io);
    } catch (error) {
      const isMissing = error instanceof Deno.errors.NotFound;
      code = say(
        isMissing ? `${one.key}: there is no such file. \`dkim keygen\` makes it.` : (error as Error).message,
        1,
      );
    }
  }
  return code;
}

const sayer = (io: UserIo): Say => (text, code) => {
  io.stderr.write(`${text}\n`);
  return code;
};

function fromArguments({ domain, selector, out }: DkimOptions): Named | { problem: string } {
  if (domain === undefined || selector === undefined) {
    return { problem: "Which key? `dkim keygen example.org s2026`, or --config FILE for those it names." };
  }
  const read = keyOption.safeParse({ domain, selector, key: out ?? `${selector}._domainkey.${domain}.pem` });
  return read.success
    ? { keys: [read.data] }
    : { problem: read.error.issues.map(({ message }) => message).join("\n") };
}

/** Only what concerns the keys is read: they can be made before anything else is there. */
async function fromConfig(file: string, io: UserIo): Promise<Named | { problem: string }> {
  const { source, problems } = await readSource(file, io);
  const errors = problems.filter(({ severity }) => severity === "error");
  const plugins = readValue(config.shape.plugins, source, ["plugins"]);
  if (errors.length > 0 || !plugins.value) {
    return { problem: (errors.length > 0 ? errors : plugins.problems).map(formatProblem).join("\n") };
  }
  const keys = new Map<string, KeyOption>();
  const wrong: Problem[] = [];
  for (const [index, { use }] of plugins.value.entries()) {
    const found = keysOf(use, source, index);
    wrong.push(...found.problems);
    for (const one of found.keys) keys.set(one.key, one);
  }
  if (wrong.length > 0) return { problem: wrong.map(formatProblem).join("\n") };
  if (keys.size === 0) {
    return {
      problem: `${file} names no key: neither \`dkim-sign\` nor \`arc\` with \`seal\` is in \`plugins:\`.`,
    };
  }
  const owner = await ownerFor(source, io);
  return { keys: [...keys.values()], ...(owner && { owner }) };
}

function keysOf(
  use: string,
  source: Source,
  index: number,
): { keys: readonly KeyOption[]; problems: readonly Problem[] } {
  const at = ["plugins", index, "with"];
  if (use === "dkim-sign") {
    const { value, problems } = readValue(dkimSign.options!, source, at);
    return { keys: value?.keys ?? [], problems };
  }
  if (use === "arc" && source.get(at) !== undefined) {
    const { value, problems } = readValue(arc.options!, source, at);
    return { keys: value?.seal ? [value.seal] : [], problems };
  }
  return { keys: [], problems: [] };
}

function chosen(keys: readonly KeyOption[], { domain, selector }: DkimOptions): readonly KeyOption[] {
  if (domain === undefined || selector === undefined) return keys;
  return keys.filter((one) => one.domain === domain.toLowerCase() && one.selector === selector.toLowerCase());
}

function noneChosen({ config, domain, selector }: DkimOptions): string {
  return `${config} names no key ${selector}._domainkey.${domain}: put it there first, or leave --config out.`;
}

/** Writes a new key that only its owner can read; or says why not. */
async function write(
  file: string,
  type: "rsa" | "ed25519",
  owner: Owner,
): Promise<"written" | "exists" | string> {
  const pem = await newKey(type);
  try {
    const folder = dirname(file);
    if (!await Deno.stat(folder).then(() => true, () => false)) {
      await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
      if (owner) await Deno.chown(folder, owner.uid, owner.gid);
    }
    using out = await Deno.open(file, { write: true, createNew: true, mode: 0o600 });
    const octets = new TextEncoder().encode(pem);
    for (let at = 0; at < octets.length;) at += await out.write(octets.subarray(at));
    await out.sync();
    if (owner) await Deno.chown(file, owner.uid, owner.gid);
    return "written";
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return "exists";
    return `${file} can't be written: ${(error as Error).message}`;
  }
}

const generate = promisify(generateKeyPair) as unknown as (
  type: string,
  options: object,
) => Promise<{ privateKey: string }>;

async function newKey(type: "rsa" | "ed25519"): Promise<string> {
  const { privateKey } = await generate(type, {
    modulusLength: 2048, // RFC 8301 §3.2; a record of 4096 bits does not fit an answer by UDP
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  return privateKey;
}

async function printRecord({ domain, selector, key }: KeyOption, io: UserIo): Promise<void> {
  const { record } = await readKey(key, await Deno.readTextFile(key));
  // A string of a TXT record holds 255 octets (RFC 1035 §3.3).
  const strings = record.match(/.{1,255}/g)!.map((text) => `"${text}"`);
  const text = strings.length === 1 ? strings[0] : `( ${strings.join("\n    ")} )`;
  io.stdout.write(`${selector}._domainkey.${domain}. IN TXT ${text}\n`);
}

const inYaml = ({ domain, selector, key }: KeyOption) =>
  `- { domain: ${domain}, selector: ${JSON.stringify(selector)}, key: ${JSON.stringify(key)} }\n`;
