/** Reports to senders, as Python's email package reads them. */
import { fileURLToPath } from "node:url";
import { run } from "./programs.ts";

/** What is in one; the names of fields are in lower case. */
export interface Report {
  readonly type: string;
  readonly reportType: string;
  readonly defects: readonly string[];
  readonly header: Readonly<Record<string, string>>;
  /** The types of its parts. */
  readonly parts: readonly string[];
  readonly text: string;
  readonly message: Readonly<Record<string, string>>;
  readonly recipients: readonly Readonly<Record<string, string>>[];
  /** The message it is about, or its header. */
  readonly returned: string;
}

/** Reads one. @throws {Error} when it is none. */
export async function readReport(bytes: Uint8Array): Promise<Report> {
  const reader = fileURLToPath(new URL("clients/report.py", import.meta.url));
  const { code, stdout, stderr } = await run("python3", [reader], { stdin: bytes });
  if (code !== 0) throw new Error(`${stderr}\n${new TextDecoder().decode(bytes)}`);
  return JSON.parse(stdout);
}
