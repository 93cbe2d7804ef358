/**
 * The same dialogs with this server and with others: what each says, where ours says otherwise than most, and why. `deno task
 * differences` writes docs/differences.md; the end-to-end tests see that nothing has come up that it doesn't explain.
 */
import { join } from "node:path";
import { type Dialog, readDialog } from "../../server/testing/dialog_text.ts";
import { RawClient } from "./client.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { type Other, startAiosmtpd, startExim, startOpenSmtpd, startPostfix, users } from "./others.ts";
import { type Reason, reasons } from "./reasons.ts";
import { root, ServerProcess } from "./server.ts";
import { writeSettings } from "./small_server.ts";

// ── Dialogs ────────────────────────────────────────────────────────────────────────────────────────

/** What the client does between two silences, and how many replies ours has for it. */
interface Move {
  /** What it says, for people. */
  readonly says: string;
  readonly segments: readonly Uint8Array[];
  readonly replies: number;
  /** Ours closes behind them. */
  readonly closes: boolean;
  /** It is content: only for a server that has said 354. */
  readonly isContent: boolean;
}

/** A dialog that any server can be asked. */
export interface Asked {
  readonly name: string;
  readonly moves: readonly Move[];
}

/** The dialogs that need no configuration of ours, no TLS, no clock, and no reset. */
export async function askedDialogs(): Promise<Asked[]> {
  const found: Asked[] = [];
  const folder = join(root, "tests/dialogs");
  for await (const { name } of Deno.readDir(folder)) {
    if (!name.endsWith(".smtp")) continue;
    const text = await Deno.readTextFile(join(folder, name));
    const isOurs = /^@ (?!split|limits\.errors)|^T:|^C! |<list@|<defer@|AUTH|STARTTLS|LHLO/m.test(text);
    const isOfLimits = /^C11/.test(name); // of errors: all servers hear any number here
    if (!isOurs && !isOfLimits) found.push({ name: name.slice(0, -5), moves: movesOf(readDialog(text)) });
  }
  return found.sort((a, b) => a.name < b.name ? -1 : 1);
}

function movesOf({ steps }: Dialog): Move[] {
  const moves: { segments: Uint8Array[]; replies: number; closes: boolean; isContent: boolean }[] = [];
  let [last, isSaying] = ["", false];
  const begin = () => moves.push({ segments: [], replies: 0, closes: false, isContent: last === "354" });
  begin(); // the greeting
  for (const step of steps) {
    if (step.does === "send") {
      if (!isSaying) begin();
      isSaying = true;
      moves.at(-1)!.segments.push(...step.segments);
    } else if (step.does === "expect") {
      isSaying = false;
      if (step.reply[3] === "-") continue;
      last = step.reply.slice(0, 3);
      moves.at(-1)!.replies++;
    } else if (step.does === "expect-closed") {
      isSaying = false;
      moves.at(-1)!.closes = true;
    }
  }
  // Who is spoken to before it has greeted has nothing to say to silence.
  const asked = moves.filter(({ segments, replies }) => segments.length > 0 || replies > 0);
  return asked.map((move) => ({
    ...move,
    says: move.segments.length > 0 ? shown(move.segments) : "(greeting)",
  }));
}

/** On one line, not too long: repetitions are counted. */
function shown(segments: readonly Uint8Array[]): string {
  const text = segments.map((segment) => {
    let out = "";
    for (const byte of segment) {
      const char = String.fromCharCode(byte);
      out += char === "\r"
        ? "\\r"
        : char === "\n"
        ? "\\n"
        : byte >= 32 && byte < 127
        ? char
        : `\\x${byte.toString(16).padStart(2, "0")}`;
    }
    return out;
  }).join("").replace(/\\r\\n$/, "");
  const short = text.replace(/(.+?)\1{7,}/g, (all, one: string) => `${one}{${all.length / one.length}}`);
  return short.length <= 120 ? short : `${short.slice(0, 90)}…${short.slice(-25)}`;
}

// ── Playing ────────────────────────────────────────────────────────────────────────────────────────

/** What one server made of a dialog. */
export interface Played {
  /** By move: codes, `closed`; `–`: silence; `·`: it wasn't asked, since it had gone another way. */
  readonly heard: readonly string[];
  /** Messages it has taken. */
  readonly kept: number;
}

/** Milliseconds after which a server that says nothing says nothing; of ours a test would rather hear late than never. */
const silence = { ours: 60_000, others: 3000 };
/** Milliseconds for what a server has to say to content besides one reply, and to close behind its last one. */
const afterthought = 250;

class Conversation {
  readonly #conn: Deno.TcpConn;
  readonly #patience: number;
  #text = "";
  #isClosed = false;
  #wake = () => {};

  constructor(conn: Deno.TcpConn, patience: number) {
    this.#conn = conn;
    this.#patience = patience;
    conn.setNoDelay(true);
    void this.#listen();
  }

  async play(moves: readonly Move[]): Promise<string[]> {
    const heard: string[] = [];
    let [last, hasClosed] = ["", false];
    for (const [nth, { segments, replies, closes, isContent }] of moves.entries()) {
      // What has gone another way isn't asked for the rest of this; nor is content given to who didn't want it.
      if ((last === "354") !== isContent || hasClosed) {
        heard.push("·");
        continue;
      }
      for (const segment of segments) await this.#send(segment);
      const codes = await this.#codes(replies, isContent || closes);
      const isLast = nth === moves.length - 1;
      if (closes || isLast) await this.#untilClosed(closes ? this.#patience : afterthought);
      hasClosed = this.#isClosed;
      // That it closed behind the move before may be seen only now.
      if (hasClosed && codes.length === 0 && nth > 0 && replies > 0 && heard[nth - 1] !== "·") {
        heard[nth - 1] = closed(heard[nth - 1]!);
        heard.push("·");
        continue;
      }
      last = codes.at(-1) ?? last;
      const said = codes.length > 0 ? codes.join(" ") : hasClosed || replies === 0 ? "" : "–";
      heard.push(hasClosed ? closed(said) : said);
    }
    return heard;
  }

  /** Ends what the client says, and waits until the server has, too. */
  async end(): Promise<void> {
    await this.#conn.closeWrite().catch(() => {});
    await this.#untilClosed(300);
    this.#conn.close();
  }

  async #untilClosed(patience: number): Promise<void> {
    const late = performance.now() + patience;
    while (!this.#isClosed && performance.now() < late) await this.#something(late - performance.now());
  }

  async #codes(count: number, maySayMore: boolean): Promise<string[]> {
    const codes: string[] = [];
    let late = performance.now() + this.#patience;
    const left = () => codes.length < count || maySayMore ? late - performance.now() : 0;
    for (;;) {
      for (let found; (found = /^(?:[0-9]{3}-[^\n]*\n)*([0-9]{3})(?: [^\n]*)?\r?\n/.exec(this.#text));) {
        codes.push(found[1]!);
        this.#text = this.#text.slice(found[0].length);
        if (codes.length >= count && maySayMore) late = performance.now() + afterthought;
      }
      if (this.#isClosed || left() <= 0) return codes;
      await this.#something(left());
    }
  }

  async #send(bytes: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
    } catch {
      // It has closed, and that will be heard.
    }
  }

  /** Resolves when there is something to hear, or after so long. */
  async #something(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, Math.max(1, ms));
    this.#wake = resolve;
    await promise;
    clearTimeout(timer);
  }

  async #listen(): Promise<void> {
    const buffer = new Uint8Array(65_536);
    try {
      for (let count; (count = await this.#conn.read(buffer)) !== null;) {
        for (const byte of buffer.subarray(0, count)) this.#text += String.fromCharCode(byte);
        this.#wake();
      }
    } catch {
      // Reset: closed as well.
    }
    this.#isClosed = true;
    this.#wake();
  }
}

/** A server that closes behind its 221 is no other than one that is about to. */
const closed = (said: string) => said.endsWith("221") ? said : `${said} closed`.trim();

/** Plays all dialogs with one server, one after the other. */
async function playAll(server: Other, dialogs: readonly Asked[], patience: number): Promise<Played[]> {
  const played: Played[] = [];
  for (const { moves } of dialogs) {
    const before = await server.accepted();
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
    const conversation = new Conversation(conn, patience);
    const heard = await conversation.play(moves);
    await conversation.end();
    played.push({ heard, kept: await server.accepted() - before });
  }
  return played;
}

/** This server, as the others are: errors don't end a session. */
async function startOurs(folder: Folder): Promise<Other> {
  const server = await ServerProcess.start(
    await writeSettings(folder, {
      hostname: "mx.example.org",
      limits: { errors: 1000, refusedRecipients: 1000 },
      plugins: [{ use: "maildir", with: { domains: ["example.org"], users, path: "./mail/{user}" } }],
    }),
  );
  let asked = 0;
  return {
    name: "Postrider",
    version: "",
    port: server.port(),
    async accepted() {
      // What is logged behind a refusal that was heard has all been logged before: the log is read late.
      const marker = `marker-${++asked}@example.org`;
      using client = await RawClient.connect(server.port());
      await client.say("EHLO client.test");
      await client.say("MAIL FROM:<>");
      await client.say(`RCPT TO:<${marker}>`, 550);
      await server.logged("refused", ({ to }) => to === marker);
      return server.log.filter(({ event }) => event === "message accepted").length;
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** All dialogs with all servers. */
export interface Comparison {
  readonly dialogs: readonly Asked[];
  /** This server first. */
  readonly servers: readonly Pick<Other, "name" | "version">[];
  /** By server, then by dialog. */
  readonly played: readonly (readonly Played[])[];
}

/** Starts them all, and plays. */
export async function compare(): Promise<Comparison> {
  await using undo = new AsyncDisposableStack();
  const dialogs = await askedDialogs();
  const servers: Other[] = [];
  for (const start of [startOurs, startPostfix, startExim, startOpenSmtpd, startAiosmtpd]) {
    servers.push(undo.use(await start(undo.use(await makeFolder()))));
  }
  const played = await Promise.all(
    servers.map((server, nth) => playAll(server, dialogs, nth === 0 ? silence.ours : silence.others)),
  );
  return { dialogs, servers: servers.map(({ name, version }) => ({ name, version })), played };
}

// ── Comparing ──────────────────────────────────────────────────────────────────────────────────────

/** A place where ours says otherwise than most. */
export interface Difference {
  readonly dialog: string;
  /** What the client says; `kept` where the number of messages differs. */
  readonly says: string;
  readonly ours: string;
  readonly others: readonly string[];
}

/** Every place where ours differs from what more than half of the others say, who were asked. */
export function differencesOf({ dialogs, played }: Comparison): Difference[] {
  return dialogs.flatMap(({ name, moves }, nth) => {
    const [ours, ...others] = played.map((one) => one[nth]!);
    const places = moves.map(({ says }, i) => ({
      says,
      ours: ours!.heard[i]!,
      others: others.map(({ heard }) => heard[i]!),
    }));
    const kept = {
      says: "kept",
      ours: String(ours!.kept),
      others: others.map(({ kept }) => String(kept)),
    };
    return [...places, kept].filter(differs).map((place) => ({ dialog: name, ...place }));
  });
}

function differs({ ours, others }: Pick<Difference, "ours" | "others">): boolean {
  const asked = others.filter((one) => one !== "·");
  const mostSay = (kind: (one: string) => string) =>
    asked.some((one) =>
      kind(one) !== kind(ours) && asked.filter((other) => kind(other) === kind(one)).length > asked.length / 2
    );
  return ours !== "·" && (mostSay((one) => one) || mostSay((one) => one.replace(/([0-9])[0-9]{2}/g, "$1")));
}

/** What explains a difference. */
export function reasonFor({ dialog, says, ours }: Difference): Reason | undefined {
  return reasons.find(({ places }) =>
    places.some((place) =>
      place.dialog === dialog && (place.says === undefined || place.says === says) && place.ours === ours
    )
  );
}

// ── The page ───────────────────────────────────────────────────────────────────────────────────────

/** Replies in a row that are the same are counted. */
function inBrief({ heard, kept }: Played): string {
  const runs: { said: string; count: number }[] = [];
  for (const said of heard) {
    if (said !== "" && said === runs.at(-1)?.said) runs.at(-1)!.count++;
    else if (said !== "") runs.push({ said, count: 1 });
  }
  const codes = runs.map(({ said, count }) => count === 1 ? said : `${said}×${count}`).join(", ");
  return kept > 0 ? `${codes} (kept ${kept})` : codes;
}

const cell = (text: string) => text.replaceAll("|", "\\|");
const code = (text: string) => text === "" ? "" : text.includes("`") ? `\`\` ${text} \`\`` : `\`${text}\``;
const row = (cells: readonly string[]) => `| ${cells.map(cell).join(" | ")} |`;

/** What ours said, as the page has it: a test looks for these lines. */
export function ourRows({ dialogs, played }: Comparison): string[] {
  return dialogs.map(({ name }, nth) => `| ${name} | ${inBrief(played[0]![nth]!)} |`);
}

/** docs/differences.md, but for its formatting. @throws {Error} where a difference has no reason, or a reason no difference. */
export function differencesPage(comparison: Comparison): string {
  const { dialogs, servers, played } = comparison;
  const differences = differencesOf(comparison);
  const unexplained = differences.filter((one) => !reasonFor(one));
  if (unexplained.length > 0) throw new Error(`unexplained: ${JSON.stringify(unexplained, undefined, 1)}`);
  const idle = reasons.filter((reason) => !differences.some((one) => reasonFor(one) === reason));
  if (idle.length > 0) throw new Error(`nothing differs any more: ${idle.map(({ why }) => why).join("; ")}`);
  const heading = (cells: readonly string[]) => [row(cells), row(cells.map(() => "---"))];
  const explained = reasons.flatMap((reason) => [
    "",
    reason.why,
    "",
    ...heading(["dialog", "the client says", ...servers.map(({ name }) => name)]),
    ...differences.filter((one) => reasonFor(one) === reason).map(({ dialog, says, ours, others }) =>
      row([dialog, says === "kept" ? "(messages kept)" : code(says), ours, ...others])
    ),
  ]);
  return [
    "# Beside other servers",
    "",
    `Written by \`deno task differences\`: ${dialogs.length} of the golden dialogs in \`tests/dialogs\`, those that need no`,
    `configuration of one server, spoken with this one and with ${
      servers.slice(1).map(({ name, version }) => `${name} ${version}`).join(", ")
    }, as Debian 12 has`,
    "them, on loopback. All of them take mail for four names at example.org, relay for nobody, and hear any number of errors. The",
    "end-to-end tests play the same again, and fail where this server differs from most and the reason isn't given here.",
    "",
    "Codes, not texts, are compared. `closed`: the server has closed; `–`: it says nothing, for seconds; `·`: it wasn't asked, since",
    "it had gone another way before. OpenSMTPD and aiosmtpd don't offer all extensions: 500 and 555 are their right there.",
    "",
    "## Where this server differs from most, and why",
    ...explained,
    "",
    "## All dialogs",
    "",
    ...heading(["dialog", ...servers.map(({ name }) => name)]),
    ...dialogs.map(({ name }, nth) => row([name, ...played.map((one) => inBrief(one[nth]!))])),
    "",
  ].join("\n");
}

if (import.meta.main) {
  const file = join(root, "docs/differences.md");
  await Deno.writeTextFile(file, differencesPage(await compare()));
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "-q", file], cwd: root }).output();
}
