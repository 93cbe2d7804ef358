/**
 * Refuses attachments by extension and media type, by what their octets are, and inside archives and nested messages; and those that
 * are disguised, encrypted, unreadable, too many or too large.
 */
import { because, defer, definePlugin, reject, size, z } from "../../server/plugin.ts";
import { Inspector } from "./inspector.ts";
import { startable } from "./kinds.ts";
import { problemsOf, type Rule } from "./rules.ts";

const action = (fallback: "reject" | "flag" | "off") => z.enum(["reject", "flag", "off"]).default(fallback);
const extension = z.string().toLowerCase().regex(/^\.?[^\s./\\]{1,32}$/, "not an extension such as exe")
  .transform((text) => text.replace(/^\./, ""));
const mediaType = z.string().toLowerCase().regex(
  /^[a-z0-9.+-]+\/(?:[a-z0-9.+-]+|\*)$/,
  "not a media type such as application/zip or video/*",
);

const options = z.object({
  extensions: z.array(extension).default([...startable]).describe(
    "Extensions that aren't taken, of attachments and of what is in archives, by name and by content",
  ),
  types: z.array(mediaType).default(["message/partial", "message/external-body"]).describe(
    "Media types that aren't taken, such as `application/zip` or `video/*`, by what a part says and by its content",
  ),
  refused: action("reject").describe(
    "What becomes of a message with one of those: refused, marked in `X-Attachment-Problem`, or nothing",
  ),
  disguised: action("reject").describe(
    "The same for names made to be taken for another kind: `invoice.pdf.html`, letters that turn the direction, blanks before the extension",
  ),
  mismatch: action("flag").describe(
    "The same for a picture, recording or document that is an archive or a program by its content",
  ),
  encrypted: action("off").describe("The same for archives that nobody can look into without a password"),
  unreadable: action("reject").describe(
    "The same for archives and messages that are damaged, or inside of each other beyond `depth`, or beyond `entries` or `unpacked`",
  ),
  bounds: action("reject").describe("The same for more than `most` attachments, or one over `largest`"),
  most: z.number().int().min(0).optional().describe(
    "How many attachments a message may have; absent: any number",
  ),
  largest: size().optional().describe("How large an attachment may be, decoded; absent: as the message may"),
  depth: z.number().int().min(0).max(10).default(3).describe(
    "How many archives and messages inside of each other are looked into",
  ),
  entries: z.number().int().min(1).max(100_000).default(10_000).describe(
    "How many parts and archives' entries are looked at",
  ),
  unpacked: size("32MiB").describe("How much is unpacked of archives inside of archives, all together"),
  max: size("50MiB").describe("The largest message that is looked into"),
  tooLarge: z.enum(["pass", "defer", "reject"]).default("pass").describe(
    "What becomes of a larger one: it goes on, or is refused, for now or for good",
  ),
});

/** Entries of archives that are unpacked: some seconds' work at most, where the others' mail waits. */
const unpackings = 500;
const field = "X-Attachment-Problem";
/** Lines of a header, and of the log: more of the same tells nothing more. */
const mostTold = 10;

/** The plugin `attachments`. */
export default definePlugin({
  name: "attachments",
  options,
  setup(on, options, { log }) {
    const { depth, entries, unpacked, max, tooLarge, most, largest, types } = options;
    const inspector = new Inspector({ depth, entries, unpackings, unpacked });
    const wanted = { extensions: new Set(options.extensions), types, most, largest };
    const actionOf = (rule: Rule) => options[rule];

    on("data", async ({ protocol }, message, { id }, { signal }) => {
      if (protocol === "internal") return; // it was looked into when it came
      if (message.headers.get(field) !== undefined) message.removeHeader(field); // whoever wrote it, it wasn't us
      if (message.size > max) {
        if (tooLarge === "reject") return because("tooLarge: reject", refused);
        if (tooLarge === "defer") return because("tooLarge: defer", deferred);
        return log.warning("too large to be looked into", { id, size: message.size });
      }
      const problems = problemsOf(await inspector.inspect(message, signal), wanted)
        .filter(({ rule }) => actionOf(rule) !== "off");
      const worst = problems.find(({ rule }) => actionOf(rule) === "reject");
      if (worst) return because(`${worst.rule}: reject`, reject("5.7.1", worst.text));
      for (const { rule, text } of problems.slice(0, mostTold).toReversed()) {
        log.info("flagged", { id, rule, problem: text });
        message.prependHeader(field, text);
      }
    });

    return () => inspector.close();
  },
});

const refused = reject("5.3.4", "The message is too large to be looked into", 552);
const deferred = defer("4.3.4", "The message is too large to be looked into");
