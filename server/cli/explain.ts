/** `explain`: a dry run of a described session through the real plugins; what each says, and what becomes of the mail. */
import { basename } from "node:path";
import ipaddr from "ipaddr.js";
import type { Clock } from "../clock.ts";
import { formatProblem } from "../config/read.ts";
import type { Explanation } from "../explain/explanation.ts";
import { openDryServer } from "../explain/dry_server.ts";
import { render } from "../explain/render.ts";
import { type Described, explain } from "../explain/run.ts";
import { received } from "../explain/sample.ts";
import { jsonText } from "./json.ts";
import { type Read, read } from "../prepare.ts";
import { checkCache, dropPrivileges } from "../privileges.ts";
import { accountOf, type ExitCode, type UserIo } from "./user.ts";

/** What the command line says. */
export interface ExplainOptions {
  readonly config: string;
  readonly from: string;
  readonly to: readonly string[];
  readonly ip?: string | undefined;
  readonly helo?: string | undefined;
  readonly role?: "mx" | "submission" | undefined;
  readonly tls?: boolean | undefined;
  /** The account that is taken to have logged in. */
  readonly auth?: string | undefined;
  readonly json?: boolean | undefined;
  /** A file in Internet Message Format; absent: a message is made up. */
  readonly message?: string | undefined;
}

/** What the command needs of the world. */
export interface ExplainIo extends UserIo {
  readonly clock: Clock;
  columns(): number | undefined;
}

/** Exit codes beside those of every command: the mail would be refused for now, or for good. */
const codes = { accepted: 0, deferred: 3, refused: 4 } as const;

/** @returns 0 when every recipient would be accepted, 3 when some would be refused for now, 4 for good; 1 and 2 as ever. */
export async function explainCommand(options: ExplainOptions, io: ExplainIo): Promise<ExitCode> {
  const say = (text: string, code: ExitCode): ExitCode => {
    io.stderr.write(`${text}\n`);
    return code;
  };
  const misused = whyMisused(options);
  if (misused !== undefined) return say(misused, 2);
  const found = await read(options.config, io);
  if (found.kind === "unfit") return say(found.problems.map(formatProblem).join("\n"), 2);
  try {
    const message = await messageOf(options, found, io.clock);
    // As the server itself: what its user can't read, it can't.
    const { user } = found.config;
    if (user !== undefined && Deno.uid() === 0) {
      dropPrivileges(user);
      checkCache(user);
    }
    const { user: login, note } = await loginOf(options, io);
    await using server = await openDryServer(found, io.clock);
    if (server.kind === "refused") return say(server.problems.map(formatProblem).join("\n"), 2);
    const notes = [...server.notes, ...(note === undefined ? [] : [note])];
    const explanation = await explain(describe(options, login, message), server.edges, notes);
    print(explanation, options, io);
    return codes[explanation.outcome];
  } catch (error) {
    return say(error instanceof Error ? error.message : String(error), 1);
  }
}

function print(explanation: Explanation, { json }: ExplainOptions, io: ExplainIo): void {
  if (json) io.stdout.write(`${jsonText(explanation)}\n`);
  else for (const line of render(explanation, io.columns())) io.stdout.write(`${line}\n`);
}

function whyMisused({ from, to, ip, helo, auth, role }: ExplainOptions): string | undefined {
  const given = [from, ...to, helo ?? "", auth ?? ""];
  // deno-lint-ignore no-control-regex -- a line end would be a command of its own
  if (given.some((text) => /[\x00-\x1f\x7f]/.test(text))) {
    return "An address or a name can't hold control characters.";
  }
  if (to.length === 0) return "`explain` needs a recipient: --to alice@example.org.";
  if (ip !== undefined && !ipaddr.isValid(ip)) return `--ip ${ip}: that is not an IP address.`;
  if (helo !== undefined && (helo === "" || helo.includes(" "))) {
    return `--helo "${helo}": that is not a name.`;
  }
  if (auth === "") return "--auth needs the name of an account.";
  if (role !== undefined && role !== "mx" && role !== "submission") {
    return `--role ${role}: it is mx or submission.`;
  }
  return undefined;
}

const bare = (address: string) => address.replace(/^<(.*)>$/s, "$1");

function describe(
  options: ExplainOptions,
  user: Described["user"],
  message: Described["message"],
): Described {
  const { from, to, ip = "192.0.2.1", helo, auth, role = auth === undefined ? "mx" : "submission" } = options;
  return {
    ip,
    role,
    helo: helo ?? (ip.includes(":") ? `[IPv6:${ip}]` : `[${ip}]`),
    tls: options.tls ?? role === "submission",
    user,
    from: bare(from),
    to: to.map(bare),
    message,
  };
}

async function messageOf(
  { message, from, to }: ExplainOptions,
  { config: { hostname } }: Read,
  clock: Clock,
): Promise<Described["message"]> {
  if (message !== undefined) {
    return { name: basename(message), content: received(await Deno.readFile(message)) };
  }
  const now = new Date(clock.now()).toUTCString().replace("GMT", "+0000");
  const lines = [
    `From: ${bare(from) === "" ? `MAILER-DAEMON@${hostname}` : bare(from)}`,
    `To: ${to.map(bare).join(", ")}`,
    "Subject: a message made by explain",
    `Date: ${now}`,
    `Message-ID: <explain.${clock.now()}@${hostname}>`,
    "",
    "No message was given to explain, so it made this one.",
    "",
  ];
  return { name: "a message made up", content: new TextEncoder().encode(lines.join("\r\n")) };
}

/** The account, with the addresses it may send as: those of the `auth` plugin's file are known without its password. */
async function loginOf(
  { config, auth }: ExplainOptions,
  io: UserIo,
): Promise<{ readonly user: Described["user"]; readonly note?: string }> {
  if (auth === undefined) return { user: undefined };
  const account = await accountOf(config, auth, io);
  if (account.kind === "known") return { user: account };
  const note = account.kind === "unknown"
    ? `${auth} is no account in ${account.file}: a real client could not log in.`
    : `whether ${auth} could log in, and as whom else it may send, was not asked.`;
  return { user: { name: auth, sendAs: [] }, note };
}
