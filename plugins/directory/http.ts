/** Looking addresses up in a web service. */
import { path, z } from "../../server/plugin.ts";
import { type Name, patience, type Source, Unusable } from "./directory.ts";
import { asksAbout, fill } from "./template.ts";

const url = z.string().superRefine((text, context) => {
  const problem = (message: string) => context.addIssue({ code: "custom", message });
  if (!/^https?:\/\/[^/?#{}\s]+\//.test(text) || !URL.canParse(text)) {
    return problem(`"${text}" is not a URL such as https://users.example.org/mailboxes/{address}`);
  }
  if (/^[^/]+\/\/[^/]*@/.test(text)) problem("a password doesn't belong in a URL: use tokenFile or headers");
  if (!asksAbout(text)) problem("asks about no address: put {address} into it, or {local} and {domain}");
});

const token = /^[\x21-\x7e]+$/;

/** The option `http`. */
export const httpOption = z.object({
  url: url.describe("What is asked, with `{address}`, `{local}`, `{domain}` in it, lower case, escaped"),
  tokenFile: path().optional().describe(
    "A file with a token on one line, sent as `Authorization: Bearer …`; read at each question",
  ),
  headers: z.record(
    z.string().regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/, "is no header's name"),
    z.string().regex(/^[\t\x20-\x7e]*$/, "must be one line of ASCII"),
  ).default({}).describe('Fields of the request; keep secrets out of this file by "${env:NAME}"'),
  timeout: patience,
});

/** The option, read. */
export type HttpHow = z.output<typeof httpOption>;

/** Reads an answer that there is: what stands there for the name. @throws {Error} what is wrong with it. */
export type ReadBody = (body: string) => readonly string[] | undefined;

/** Octets of the longest answer that makes sense. */
const longest = 1024 ** 2;

/** 404 and 410 are a no, 2xx is a yes as `read` has it; anything else says nothing of the address. Redirects are not followed. */
export function openHttp({ url, tokenFile, headers, timeout }: HttpHow, read: ReadBody): Source {
  const { origin } = new URL(url.replaceAll(/[{}]/g, ""));
  const depth = (address: URL) => address.pathname.split("/").length;
  const about = `http: ${url.replace(/\?.*/s, "?…")}`; // a key may stand behind the ?
  const asksByPath = url.split("?", 1)[0]!.includes("{local}");
  const problem = (text: string) => new Error(`${about}: ${text}`);
  return {
    about,
    identity: `http ${url}`,
    timeout,
    async look(name, signal) {
      const asked = address(url, name);
      // `..` is a step in a path however it is escaped, so that another resource would answer.
      if (name.local === "" && asksByPath) return undefined; // what stands at `/aliases/` is mostly all of them
      if (asked.origin !== origin || depth(asked) !== depth(address(url, harmless))) return undefined;
      const fields = new Headers(headers);
      if (tokenFile !== undefined) {
        fields.set("Authorization", `Bearer ${await readToken(tokenFile, problem)}`);
      }
      // The platform's words hold the whole URL.
      const answer = await fetch(asked, { headers: fields, redirect: "manual", signal }).catch(() => {
        throw problem(signal.aborted ? "no answer in time" : "it can't be reached");
      });
      if (answer.status === 404 || answer.status === 410) {
        await answer.body?.cancel();
        return undefined;
      }
      if (!answer.ok) {
        await answer.body?.cancel();
        const text = `${about}: it answers ${answer.status}`;
        throw overloaded.has(answer.status) ? new Error(text) : new Unusable(text);
      }
      const body = await textOf(answer).catch((error) => {
        throw problem(error instanceof RangeError ? error.message : "its answer is cut off");
      });
      try {
        return read(body);
      } catch (error) {
        throw new Unusable(`${about}: its answer ${(error as Error).message}`);
      }
    },
    close() {},
  };
}

/** It can't answer anybody now. With any other status it has: a 500 may be this one address's fault. */
const overloaded: ReadonlySet<number> = new Set([429, 502, 503, 504]);

const harmless: Name = { local: "x", domain: "example.org" };

const address = (url: string, name: Name) => new URL(fill(url, name, encodeURIComponent));

async function readToken(file: string, problem: (text: string) => Error): Promise<string> {
  const text = await Deno.readTextFile(file).then((text) => text.trim(), (error: unknown) => {
    throw problem(`its token can't be read: ${(error as Error).message}`);
  });
  if (!token.test(text)) throw problem(`${file} is not one line with a token`);
  return text;
}

async function textOf(answer: Response): Promise<string> {
  const decoder = new TextDecoder();
  let [text, length] = ["", 0];
  for await (const piece of answer.body ?? []) {
    length += piece.length;
    if (length > longest) throw new RangeError(`is longer than ${longest} octets`);
    text += decoder.decode(piece, { stream: true });
  }
  return text + decoder.decode();
}
