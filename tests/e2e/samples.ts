/** Messages that other projects test their readers with, many of them malformed on purpose. */
import { Buffer } from "node:buffer";
import { basename, join } from "node:path";
import { run } from "./programs.ts";

/** A message, as it is in its file. */
export interface Sample {
  readonly name: string;
  readonly bytes: Buffer;
}

/**
 * All samples: Python's email tests with their pictures, and SpamAssassin's.
 *
 * @throws {Error} that names the package that is missing.
 */
export async function readSamples(): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (const path of [...await pythonFiles(), ...await spamassassinFiles()]) {
    samples.push({ name: basename(path), bytes: Buffer.from(await Deno.readFile(path)) });
  }
  return samples;
}

async function pythonFiles(): Promise<string[]> {
  const name = "libpython3.11-testsuite";
  const { stdout } = await run("dpkg", ["-L", name]);
  const files = stdout.split("\n").filter((path) => /\/test_email\/data\/[^/]+$/.test(path));
  if (files.length < 45) throw new Error(`${name} is not there: apt-get install ${name}.`);
  return files;
}

/** Taken out of the package, which isn't installed: it would bring a daemon, and some systems leave out all documentation. */
async function spamassassinFiles(): Promise<string[]> {
  const folder = Deno.env.get("SPAMASSASSIN_SAMPLES") ?? "/usr/share/doc/spamassassin/examples";
  const files = ["sample-nonspam.txt", "sample-spam.txt"].map((name) => join(folder, name));
  try {
    for (const file of files) await Deno.stat(file);
  } catch {
    throw new Error(
      `SpamAssassin's samples are not in ${folder}: apt-get install spamassassin, ` +
        "or say by SPAMASSASSIN_SAMPLES where they are.",
    );
  }
  return files;
}
