/** Accounts of Dovecot's, asked through its auth socket (the protocol of doc.dovecot.org, "Authentication Protocol", version 1.2). */
import { duration, z } from "../../server/plugin.ts";
import { backEnd, connect, readBackEnd } from "../back_end.ts";
import { type AccountKeeper, accountOf, type Asked, type Said } from "./elsewhere.ts";

/** The option `dovecot`. */
export const dovecotOption = z.object({
  socket: backEnd.describe("Dovecot's auth socket (`unix_listener` or `inet_listener` of `service auth`)"),
  timeout: duration("25s").refine((ms) => ms > 0, "must be more than nothing").describe(
    "How long one answer may take; Dovecot itself waits 2s before a no",
  ),
});

/** Octets of all that is read on one connection. */
const longest = 64 * 1024;
/** Each connection to Dovecot is a client's of its own number. */
let clients = Math.floor(Math.random() * 2 ** 30);

const base64 = (text: string) => new TextEncoder().encode(text).toBase64();

/** Asks Dovecot, on a connection for each login. */
export function dovecot({ socket, timeout }: z.output<typeof dovecotOption>): AccountKeeper {
  const about = `Dovecot at ${socket}`;
  return {
    about,
    timeout,
    close() {},
    async ask({ name, password, client }: Asked, signal: AbortSignal): Promise<Said> {
      const conn = await connect(readBackEnd(socket)!, signal).catch((error: unknown) => {
        signal.throwIfAborted();
        throw new Error(`${about} can't be reached: ${(error as Error).message}`);
      });
      const close = () => conn.close();
      signal.addEventListener("abort", close, { once: true });
      try {
        const lines = linesOf(conn);
        await greet(conn, lines);
        // `resp` has to be last: whatever stands behind it would be part of it.
        const rip = /^[0-9A-Fa-f:.]+$/.test(client) ? `\trip=${client}` : "";
        const resp = base64(`\0${name}\0${password}`);
        await write(conn, `AUTH\t1\tPLAIN\tservice=smtp\tsecured\tnologin${rip}\tresp=${resp}\n`);
        return await verdict(lines);
      } catch (error) {
        signal.throwIfAborted();
        throw new Error(`${about}: ${(error as Error).message}`);
      } finally {
        signal.removeEventListener("abort", close);
        if (!signal.aborted) close();
      }
    },
  };
}

async function greet(conn: Deno.Conn, lines: AsyncGenerator<string[], void>): Promise<void> {
  await write(conn, `VERSION\t1\t2\nCPID\t${clients = clients % (2 ** 31 - 1) + 1}\n`);
  for (let mechanisms = 0;;) {
    const [word, first] = await next(lines);
    if (word === "VERSION" && first !== "1") throw new Error(`it speaks version ${first} of the protocol`);
    if (word === "MECH" && first === "PLAIN") mechanisms++;
    if (word !== "DONE") continue;
    if (mechanisms === 0) throw new Error("it doesn't take PLAIN: add it to auth_mechanisms");
    return;
  }
}

async function verdict(lines: AsyncGenerator<string[], void>): Promise<Said> {
  for (;;) {
    const [word, id, ...parameters] = await next(lines);
    if (id !== "1") continue; // more of the greeting
    const said = new Map(parameters.map((text) => {
      const equals = text.indexOf("=");
      return equals < 0 ? [text, ""] as const : [text.slice(0, equals), text.slice(equals + 1)] as const;
    }));
    switch (word) {
      case "OK":
        return { kind: "right", ...accountOf(said.get("user"), undefined) };
      case "FAIL":
        if (said.has("temp") || said.get("code") === "temp_fail") {
          throw new Error(
            `it can't say now: ${(said.get("reason") ?? "see its log").replace(/\p{C}/gu, "?")}`,
          );
        }
        return { kind: "wrong" };
      case "CONT":
        throw new Error("it asks for more than PLAIN has");
    }
  }
}

async function next(lines: AsyncGenerator<string[], void>): Promise<string[]> {
  const { value } = await lines.next();
  if (!value) throw new Error("it has closed the connection");
  return value;
}

/** Each line's fields. */
async function* linesOf(conn: Deno.Conn): AsyncGenerator<string[], void> {
  const decoder = new TextDecoder();
  const chunk = new Uint8Array(4096);
  let [rest, length] = ["", 0];
  for (;;) {
    const count = await conn.read(chunk);
    if (count === null) return;
    length += count;
    if (length > longest) throw new Error(`more than ${longest} octets came`);
    const lines = (rest + decoder.decode(chunk.subarray(0, count), { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) yield line.split("\t").map(unescape);
  }
}

const escaped: Readonly<Record<string, string>> = { "0": "\0", "1": "\x01", t: "\t", r: "\r", n: "\n" };

/** U+0001 stands before what a field can't hold. */
function unescape(text: string): string {
  const [first = "", ...rest] = text.split("\x01");
  return first + rest.map((part) => (escaped[part[0] ?? ""] ?? part[0] ?? "") + part.slice(1)).join("");
}

async function write(conn: Deno.Conn, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}
