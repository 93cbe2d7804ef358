/** Asks before something can't be undone. */
import type { ExitCode, UserIo } from "./user.ts";

/** Asks on the terminal; anything but a yes is a no. */
export async function answerTo(
  question: string,
  { stdin, stderr }: Pick<UserIo, "stdin" | "stderr">,
): Promise<"yes" | "no"> {
  stderr.write(question);
  const one = new Uint8Array(1);
  let line = "";
  for (let count = await stdin.read(one); count !== null; count = await stdin.read(one)) {
    if (one[0] === 0x0a) break;
    line += String.fromCharCode(one[0]!);
    if (line.length > 100) return "no";
  }
  return /^\s*y(es)?\s*$/i.test(line) ? "yes" : "no";
}

/** The answer was no. */
export function nothingDone({ stderr }: Pick<UserIo, "stderr">): ExitCode {
  stderr.write("Nothing was done.\n");
  return 1;
}
