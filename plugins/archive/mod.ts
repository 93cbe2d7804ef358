/** Keeps a copy of mail, with its envelope: in a Maildir, in an S3-compatible store, or at another address. */
import {
  accept,
  defer,
  definePlugin,
  type Deliver,
  delivered,
  type Host,
  path,
  type Transport,
  z,
} from "../../server/plugin.ts";
import { isDomain, isLocal, split } from "../addresses.ts";
import { copyAddress, type CopyNote, copyOptions, isCopied, noteOf, readNote } from "../gateway/copies.ts";
import { maildirOf } from "./maildir.ts";
import { type Bucket, bucketOf, bucketOptions } from "./s3.ts";

const address = z.string().refine((text) => {
  const { local, domain } = split(text);
  return domain !== undefined && isDomain(domain) && isLocal(local);
}, "is not an address such as archive@example.org");

const options = z.object({
  ...copyOptions.shape,
  maildir: path().optional().describe(
    "A Maildir, such as /var/archive/{year}/{month}; {year}, {month} and {day} are of the time of arrival, UTC",
  ),
  s3: bucketOptions.optional().describe("A bucket of an S3-compatible store"),
  to: address.optional().describe("An address: a mailbox here, or somewhere else"),
}).superRefine(({ maildir, s3, to }, context) => {
  const places = [maildir, s3, to].filter((place) => place !== undefined).length;
  if (places !== 1) {
    const message = `needs one of \`maildir\`, \`s3\` and \`to\`, not ${
      places === 0 ? "none" : "several"
    }: an instance each`;
    context.addIssue({ code: "custom", message });
  }
  const strange = /\{(?!year\}|month\}|day\})[^/}]*\}?/.exec(maildir ?? "");
  if (strange) {
    const message = `"${strange[0]}" is no placeholder: there are {year}, {month} and {day}`;
    context.addIssue({ code: "custom", message, path: ["maildir"] });
  }
});

type Options = z.output<typeof options>;

/** Puts one message there. @throws what the place says: it is tried again. */
export type Put = (
  message: Parameters<Deliver>[0],
  note: CopyNote,
  signal: AbortSignal,
) => Promise<string>;

/** The plugin `archive`. */
export default definePlugin({
  name: "archive",
  options,
  async setup(on, given, host) {
    const { place, dispose } = await placeOf(given, host);
    on("data", async (session, _message, transaction) => {
      if (!isCopied(given, session, transaction)) return;
      const note = noteOf(session, transaction, host.clock.now());
      await transaction.addCopy(place.address, { ...place.how, note });
    });
    on("bounced", ({ id, transport, recipient, reply, copy }) => {
      if (!copy || (recipient.address !== place.address && transport !== host.name)) return;
      host.log.error("a message is not in the archive, and is not tried any more", { id, reply });
    });
    return dispose;
  },
});

/** Where copies go. */
interface Place {
  readonly address: string;
  readonly how: { readonly via?: Transport; readonly onward?: Transport };
}

async function placeOf(
  { maildir, s3, to }: Options,
  host: Host,
): Promise<{ readonly place: Place; readonly dispose: () => void }> {
  const nothing = () => {};
  if (to !== undefined) {
    // From `<>`: what another server thinks of the copy is nothing to its author.
    const onward = host.relay("archive", () => accept({ sender: "" }));
    return { place: { address: to, how: { onward } }, dispose: nothing };
  }
  const bucket: Bucket | undefined = s3 && await bucketOf(s3, host);
  const put = bucket ? bucket.put : maildirOf(maildir!, host);
  const via = host.transport("archive", deliverBy(put, host), { timeout: 120_000 });
  return {
    place: { address: copyAddress(host.name), how: { via } },
    dispose: () => bucket?.close(),
  };
}

function deliverBy(put: Put, { log }: Host): Deliver {
  return async (message, [target], { signal }) => {
    const note = readNote(target!.note) ?? {
      ...{ id: message.id, at: 0, from: target!.sender, to: [target!.original], ip: "", helo: "", user: "" },
    };
    try {
      return delivered(await put(message, note, signal));
    } catch (error) { // whatever it is, an operator can put it right
      const why = inWords(error);
      log.error("the archive can't be written", { id: note.id, why });
      return defer(
        "4.3.0",
        `The archive can't be written: ${why.replaceAll(/[^\x20-\x7e]+/g, " ").slice(0, 300)}`,
      );
    }
  };
}

/** The runtime says only "fetch failed", and why in the cause. */
function inWords(error: unknown): string {
  let why = String(error);
  for (let cause = error; cause instanceof Error; cause = cause.cause) why = cause.message;
  return why;
}
