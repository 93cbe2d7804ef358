/** The archive as objects of an S3-compatible store: the message, and beside it its envelope as JSON. */
import { AwsClient } from "aws4fetch";
import { type Host, path, z } from "../../server/plugin.ts";
import type { CopyNote } from "../gateway/copies.ts";
import { Slots } from "../slots.ts";
import type { Put } from "./mod.ts";

const endpoint = z.string().superRefine((text, context) => {
  const problem = (message: string) => context.addIssue({ code: "custom", message });
  if (!URL.canParse(text)) return problem("is no URL such as https://s3.eu-central-1.amazonaws.com");
  const { protocol, username, password, search, hash } = new URL(text);
  if (protocol !== "https:" && protocol !== "http:") problem("must begin with https:// or http://");
  if (username + password + search + hash !== "") problem("is scheme, host and maybe a path, nothing more");
});

/** The option `s3`. */
export const bucketOptions = z.strictObject({
  endpoint: endpoint.describe("The store's URL, without the bucket"),
  region: z.string().regex(/^[a-z0-9-]+$/, "not a region such as eu-central-1").default("us-east-1").describe(
    "Its region; many stores take any",
  ),
  bucket: z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, "not the name of a bucket").describe(
    "The bucket, which has to be there",
  ),
  prefix: z.string().regex(
    /^(?:[A-Za-z0-9][A-Za-z0-9!_.*'()-]*\/)*$/,
    "not a prefix such as mail/, with a / at its end",
  )
    .default("").describe("What objects' names begin with"),
  accessKeyId: z.string().min(1).describe("Who writes there"),
  secretAccessKey: z.string().optional().describe(
    'Its secret; better "${env:NAME}" or secretAccessKeyFile, which keep it out of this file',
  ),
  secretAccessKeyFile: path().optional().describe("A file that holds it on one line; read at the start"),
  ca: path().optional().describe("PEM file of authorities to trust besides the usual ones"),
  concurrency: z.int().min(1).max(100).default(4).describe(
    "How many messages are on their way at a time: each is in memory as a whole",
  ),
}).refine(
  ({ secretAccessKey, secretAccessKeyFile }) =>
    (secretAccessKey === undefined) !== (secretAccessKeyFile === undefined),
  "needs one of `secretAccessKey` and `secretAccessKeyFile`",
);

/** Where messages are put. */
export interface Bucket {
  readonly put: Put;
  close(): void;
}

/** The whole request, its answer included, milliseconds. */
const patience = 60_000;

/** @throws {Error} that names the file that can't be read. */
export async function bucketOf(
  given: z.output<typeof bucketOptions>,
  { clock }: Pick<Host, "clock">,
): Promise<Bucket> {
  const { endpoint, region, bucket, accessKeyId, concurrency } = given;
  const file = async (name: string, where: string) =>
    await Deno.readTextFile(where).catch((error) => {
      throw new Error(
        `s3.${name}: ${where} can't be read: ${error instanceof Error ? error.message : error}`,
      );
    });
  const secretAccessKey = given.secretAccessKey ??
    (await file("secretAccessKeyFile", given.secretAccessKeyFile!)).trim();
  const client = Deno.createHttpClient({
    caCerts: given.ca === undefined ? [] : [await file("ca", given.ca)],
  });
  // Trying again is the queue's.
  const aws = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3", retries: 0 });
  const base = `${endpoint.replace(/\/+$/, "")}/${bucket}`;
  const slots = new Slots(concurrency);

  async function putObject(
    name: string,
    type: string,
    body: Uint8Array<ArrayBuffer>,
    signal: AbortSignal,
  ): Promise<void> {
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", body)).toHex();
    const request = await aws.sign(`${base}/${name}`, {
      method: "PUT",
      headers: { "content-type": type, "x-amz-content-sha256": hash },
      body,
    });
    const response = await fetch(request.url, {
      ...{ method: "PUT", headers: request.headers, body, redirect: "manual", client, signal },
    });
    const said = await response.text();
    if (response.ok) return;
    const code = /<Code>([A-Za-z0-9]{1,100})<\/Code>/.exec(said)?.[1] ?? "";
    throw new Error(`${new URL(base).host} says ${response.status} ${code}`.trimEnd());
  }

  return {
    close: () => client.close(),
    put: async (message, note, signal) => {
      const give = await slots.take(signal);
      const late = new AbortController();
      const both = AbortSignal.any([signal, late.signal]);
      clock.sleep(patience, both).then(
        () => late.abort(new Error(`no answer within ${patience / 1000} s`)),
        () => {},
      );
      try {
        const name = objectName(given.prefix, note);
        await putObject(`${name}.eml`, "message/rfc822", await message.bytes(Infinity), both);
        // Last: where it is, all of it is.
        await putObject(`${name}.json`, "application/json", envelopeJson(note), both);
        return `archived as ${bucket}/${name}.eml`;
      } finally {
        late.abort();
        give();
      }
    },
  };
}

/** The same at each attempt, so that one that was repeated leaves one object. */
export function objectName(prefix: string, { id, at }: Pick<CopyNote, "id" | "at">): string {
  return `${prefix}${new Date(at).toISOString().slice(0, 10).replaceAll("-", "/")}/${id}`;
}

function envelopeJson({ at, ...note }: CopyNote): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(
    `${JSON.stringify({ ...note, received: new Date(at).toISOString() }, null, 2)}\n`,
  );
}
