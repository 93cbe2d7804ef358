/** Accounts that a web service knows. */
import { path, z } from "../../server/plugin.ts";
import { patience } from "../directory/directory.ts";
import { type AccountKeeper, accountOf, type Asked, type Said } from "./elsewhere.ts";

const url = z.string().superRefine((text, context) => {
  const problem = (message: string) => context.addIssue({ code: "custom", message });
  if (!/^https?:\/\/[^\s]+$/.test(text) || !URL.canParse(text)) {
    return problem(`"${text}" is not a URL such as https://users.example.org/login`);
  }
  const { protocol, hostname, username, password } = new URL(text);
  if (username || password) problem("a password doesn't belong in a URL: use tokenFile");
  if (protocol === "http:" && !/^(?:localhost|127(?:\.[0-9]+){3}|\[::1\])$/.test(hostname)) {
    problem("passwords would cross the network unencrypted: https, or a loopback address");
  }
});

/** The option `http`. */
export const httpOption = z.object({
  url: url.describe("What is asked, by POST, with `user`, `password` and `client` in a JSON body"),
  tokenFile: path().optional().describe(
    "A file with a token on one line, sent as `Authorization: Bearer …`; read at each question",
  ),
  timeout: patience,
});

/** Octets of the longest answer that makes sense. */
const longest = 64 * 1024;

/** 200 with `{ "user": …, "sendAs": […] }` is a yes; 401, 403 and 404 are a no; anything else is none. Redirects are not followed. */
export function http({ url, tokenFile, timeout }: z.output<typeof httpOption>): AccountKeeper {
  const about = `http: ${url.replace(/\?.*/s, "?…")}`; // a key may stand behind the ?
  const problem = (text: string) => new Error(`${about}: ${text}`);
  return {
    about,
    timeout,
    close() {},
    async ask({ name, password, client }: Asked, signal: AbortSignal): Promise<Said> {
      const headers = new Headers({ "Content-Type": "application/json", Accept: "application/json" });
      if (tokenFile !== undefined) {
        const token = await Deno.readTextFile(tokenFile).catch((error) => {
          throw problem(`its token can't be read: ${(error as Error).message}`);
        });
        if (!/^[\x21-\x7e]+\s*$/.test(token)) throw problem(`${tokenFile} is not one line with a token`);
        headers.set("Authorization", `Bearer ${token.trim()}`);
      }
      const body = JSON.stringify({ user: name, password, client });
      // The platform's words hold the whole URL.
      const answer = await fetch(url, { method: "POST", headers, body, redirect: "manual", signal }).catch(
        () => {
          throw problem("it can't be reached");
        },
      );
      if (answer.status !== 200) {
        await answer.body?.cancel();
        if ([401, 403, 404].includes(answer.status)) return { kind: "wrong" };
        throw problem(`it answers ${answer.status}`);
      }
      const text = await textOf(answer).catch(() => {
        throw problem("its answer is cut off, or too long");
      });
      try {
        const { user, sendAs } = JSON.parse(text) as Record<string, unknown>;
        return { kind: "right", ...accountOf(user, sendAs) };
      } catch (error) {
        throw problem(
          error instanceof SyntaxError ? "its answer is not JSON" : `its answer: ${(error as Error).message}`,
        );
      }
    },
  };
}

async function textOf(answer: Response): Promise<string> {
  const decoder = new TextDecoder();
  let [text, length] = ["", 0];
  for await (const piece of answer.body ?? []) {
    length += piece.length;
    if (length > longest) throw new RangeError("too long");
    text += decoder.decode(piece, { stream: true });
  }
  return text + decoder.decode();
}
