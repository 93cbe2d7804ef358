/** Reading a password from a person or a pipe. It is never shown, and never an argument: those show in `ps`. */

/** Where a password comes from: `Deno.stdin`, or a test's. */
export interface PasswordInput {
  read(into: Uint8Array): Promise<number | null>;
  isTerminal(): boolean;
  /** Without it the terminal would show what is typed. */
  setRaw(on: boolean): void;
}

/** Where the question is written: standard error, so that standard output stays for results. */
export interface PromptOutput {
  write(text: string): void;
}

/** A password, or why there is none, in a sentence. */
export type Given = { readonly password: string } | { readonly refused: string };

/** What no password is longer than, in octets. */
const longest = 512;

/** Reads the first line of a pipe. */
export async function passwordFromPipe(input: PasswordInput): Promise<Given> {
  const line: number[] = [];
  for await (const byte of bytes(input)) {
    if (byte === 0x0a) break;
    line.push(byte);
    if (line.length > longest + 1) return tooLong;
  }
  if (line.at(-1) === 0x0d) line.pop();
  return checked(Uint8Array.from(line));
}

/** Asks twice on a terminal. */
export async function passwordFromTerminal(input: PasswordInput, output: PromptOutput): Promise<Given> {
  const first = await ask("Password: ", input, output);
  if ("refused" in first) return first;
  const second = await ask("Again: ", input, output);
  if ("refused" in second) return second;
  return first.password === second.password
    ? first
    : { refused: "The two passwords differ. Nothing was changed." };
}

async function ask(question: string, input: PasswordInput, output: PromptOutput): Promise<Given> {
  output.write(question);
  input.setRaw(true);
  try {
    return await typedLine(input);
  } finally {
    input.setRaw(false);
    output.write("\n");
  }
}

/** In raw mode the terminal edits nothing and sends no signals: both are up to us. */
async function typedLine(input: PasswordInput): Promise<Given> {
  const line: number[] = [];
  for await (const byte of bytes(input)) {
    if (byte === 0x03) return { refused: "Cancelled. Nothing was changed." };
    if (byte === 0x0a || byte === 0x0d || byte === 0x04) break;
    if (byte === 0x15) line.length = 0;
    else if (byte === 0x7f || byte === 0x08) eraseCharacter(line);
    else line.push(byte);
    if (line.length > longest) return tooLong;
  }
  return checked(Uint8Array.from(line));
}

/** UTF-8: continuation octets go with the one that began them. */
function eraseCharacter(line: number[]): void {
  while ((line.at(-1) ?? 0) >> 6 === 0b10) line.pop();
  line.pop();
}

const tooLong: Given = { refused: `A password has at most ${longest} octets. Nothing was changed.` };

function checked(octets: Uint8Array): Given {
  if (octets.length === 0) return { refused: "An empty password is not allowed. Nothing was changed." };
  if (octets.length > longest) return tooLong;
  // RFC 4616 §2: PLAIN separates its fields by NUL; other controls nobody can type into a mail client.
  if (octets.some((octet) => octet < 0x20 || octet === 0x7f)) {
    return { refused: "The password has control characters in it. Nothing was changed." };
  }
  try {
    return { password: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(octets) };
  } catch {
    return { refused: "The password is not valid UTF-8. Nothing was changed." };
  }
}

/** One octet a read: what follows the line is left to the next question. */
async function* bytes(input: PasswordInput): AsyncGenerator<number> {
  const one = new Uint8Array(1);
  for (;;) {
    const count = await input.read(one);
    if (count === null) return;
    if (count > 0) yield one[0]!;
  }
}
