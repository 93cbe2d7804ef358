/** Rules of the core, each with an edit of the source that breaks it, and the tests that have to see that. */

/** One edit. */
export interface Mutation {
  /** The case (docs/conformance.md) whose tests are to fail; a test with this id must. */
  readonly id: string;
  /** What is broken, in words. */
  readonly breaks: string;
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly find: string;
  readonly put: string;
  /** Under `tests/`, without `_test.ts`. */
  readonly tests: readonly string[];
}

const session = "server/smtp/session.ts";
const dialogs = ["dialogs"];
const machine = ["smtp/session"];
const inAddresses = ["smtp/address"];

const breaking = (
  id: string,
  breaks: string,
  file: string,
  find: string,
  put: string,
  tests: readonly string[],
): Mutation => ({ id, breaks, file, find, put, tests });

// deno-fmt-ignore
/** All of them; each leaves a program that runs, so that only a test can tell. */
export const mutations: readonly Mutation[] = [
  // Commands
  breaking("C02", "verbs are taken in capitals only", "server/smtp/command.ts", `const verb = found?.[1]?.toUpperCase() ?? "";`, `const verb = found?.[1] ?? "";`, machine),
  breaking("C03", "a HELO name may have any length", "server/smtp/arguments.ts", "name.length <= 255 &&", "name.length <= 25_500 &&", machine),
  breaking("C04", "a command line may have ten times its length", "server/smtp/command.ts", "return 512;", "return 5120;", machine),
  breaking("C04", "a line without end is read for ever", "server/smtp/line.ts", "const patience = 65_536;", "const patience = 65_536_000;", machine),
  breaking("C04", "a CR that comes last of a long line is forgotten", "server/smtp/line.ts", "this.#bytes[this.#bytes.length - 1] === CR ? 1 : 0;", "this.#bytes[this.#bytes.length - 1] === CR ? 0 : 0;", dialogs),
  breaking("C05", "a lone CR is part of a command", "server/smtp/line.ts", "return bytes.includes(CR) || bytes.includes(0) ? bad :", "return bytes.includes(0) ? bad :", machine),
  breaking("C05", "a lone LF ends a command", "server/smtp/line.ts", "if (feed === this.#start || this.#bytes[feed - 1] !== CR) {", "if (feed === this.#start) {", machine),
  breaking("C05", "control octets pass in arguments", "server/smtp/command.ts", "else if (byte !== 9) control = true;", "else if (byte !== 9) control = false;", machine),
  breaking("C06", "what is left of a segment is forgotten", "server/smtp/line.ts", "joined.set(this.#bytes.subarray(this.#start));", "", dialogs),
  breaking("C07", "HTTP is answered like a bad command", "server/smtp/command.ts", `if (!known.has(verb) && foreign.test(text)) return { kind: "foreign" };`, "", machine),
  breaking("C07", "a TLS hello is waited out", "server/smtp/command.ts", "bytes[0] === 0x16;", "bytes[0] === 0x17;", machine),
  breaking("C08", "obsolete verbs are merely unknown", session, "if (obsolete.has(verb)) return", "if (obsolete.has(argument)) return", machine),
  breaking("C08", "arguments where there are none are passed over", session, `if (rule.argument === "none" && argument !== "") return this.#error(replies.noArgument);`, "", machine),
  breaking("C10", "no space behind FROM: is tolerated", "server/smtp/address.ts", "while (text.charCodeAt(start) === space) start++;", "", inAddresses),
  breaking("C11", "one protocol error more is forgiven", session, "++this.#counted.errors <= this.#options.limits.errors ||", "++this.#counted.errors <= this.#options.limits.errors + 1 ||", machine),
  breaking("C11", "idle commands cost nothing, ever", session, "const idleCommands = 100;", "const idleCommands = 100_000;", machine),
  breaking("C11", "refused recipients cut a good transaction", session, "this.#counted.refused > this.#options.limits.refusedRecipients &&\n      this.#transaction.recipients === 0;", "this.#counted.refused > this.#options.limits.refusedRecipients;", machine),
  // Addresses
  breaking("A01", "the null sender is a recipient, too", "server/smtp/address.ts", "return how.null\n      ? finish", "return how.null !== undefined\n      ? finish", inAddresses),
  breaking("A02", "what a backslash quotes keeps its backslash", "server/smtp/address.ts", String.raw`inside.replaceAll(/\\(.)/g, "$1") : inside`, "inside : inside", inAddresses),
  breaking("A03", "a source route is no path", "server/smtp/address.ts", "if (bracketed && text.charCodeAt(from) === at) {", "if (bracketed && text.charCodeAt(from) === at && how.null) {", inAddresses),
  breaking("A04", "any number is an address literal", "server/smtp/address.ts", "if (ipv4.test(inside)) return text;", "if (/^[0-9.xa-f]+$/.test(inside)) return text;", inAddresses),
  breaking("A04", "an IPv6 literal may have two gaps", "server/smtp/address.ts", "if (halves.length > 2) return false;", "if (halves.length > 2) return true;", inAddresses),
  breaking("A05", "a path may be longer", "server/smtp/address.ts", "const longestPath = 256;", "const longestPath = 300;", inAddresses),
  breaking("A06", "a label may begin with a hyphen", "server/smtp/address.ts", `const label = "[A-Za-z0-9_](?:`, `const label = "[A-Za-z0-9_-](?:`, inAddresses),
  breaking("A07", "a domain may end with a dot", "server/smtp/address.ts", "(?:\\\\.${label})*$`);", "(?:\\\\.${label})*\\\\.?$`);", inAddresses),
  breaking("A09", "domains keep their case", "server/smtp/address.ts", "const domain = ascii.toLowerCase();", "const domain = ascii;", inAddresses),
  breaking("A10", "addresses beyond ASCII need no SMTPUTF8", "server/smtp/address.ts", "if (!how.utf8) return notUtf8Sender;\n    if", "if", inAddresses),
  breaking("A10", "MAIL beyond ASCII needs no SMTPUTF8", "server/smtp/arguments.ts", "if (!ascii && !params.smtputf8) return refused(replies.needsSmtpUtf8);", "", machine),
  // Sequence
  breaking("S01", "MAIL is legal amid a transaction", session, `MAIL: { legal: ["idle"],`, `MAIL: { legal: ["idle", "mail", "rcpt"],`, machine),
  breaking("S01", "EHLO leaves the transaction open", session, "if (open) return this.#forget();", "if (open) return undefined;", machine),
  breaking("S01", "DATA is legal without a good recipient", session, `DATA: { legal: ["rcpt"],`, `DATA: { legal: ["mail", "rcpt"],`, machine),
  breaking("S03", "one recipient more than the limit", session, "this.#transaction.recipients >= recipients ||", "this.#transaction.recipients > recipients ||", machine),
  breaking("P02", "what stands behind EHLO and DATA is run", session, "if (this.#mode === closed || this.#inbox.size + this.#options.unread() === 0) return;", "return;", machine),
  // Content
  breaking("D02", "a dot behind a lone LF begins a line", "server/smtp/data.ts", "this.#sawBareNewline = true; // the CR that the LF lacks; a dot behind it is no line's first", `this.#sawBareNewline = true;\n        this.#place = "line-start";`, ["smtp/data"]),
  breaking("D02", "a dot and a lone LF end a message", "server/smtp/data.ts", `this.#place = octet === CR ? "dot-cr" : "in-line";`, `this.#place = octet === CR ? "dot-cr" : octet === LF ? "end" : "in-line";`, ["smtp/data", "dialogs"]),
  breaking("D03", "dots are not stuffed", "server/smtp/data.ts", "if (octet === DOT) output.insert(index, DOT);", "", ["smtp/data"]),
  breaking("D03", "a lone dot as first line is content", "server/smtp/data.ts", `#place: Place = "line-start";`, `#place: Place = "in-line";`, ["smtp/data"]),
  breaking("D05", "white space that begins a content is a header", "server/message/header.ts", "if (continues && marks.length === 0) break;", "", ["message/header"]),
  breaking("D06", "a message over the limit is taken", "server/smtp/reader.ts", "return this.#octets > this.#rules.limit;", "return false;", machine),
  breaking("D06", "a declared size is not looked at", session, "if ((params.size ?? 0) > this.#options.limits.message) return this.#say(replies.tooBig);", "", machine),
  breaking("D07", "Received fields are not counted", "server/intake.ts", "if (countReceived(message.received) > this.options.hops) {", "if (countReceived(message.received) > this.options.hops * 100) {", ["dialogs", "intake"]),
  breaking("D08", "results in our name stay", "server/message/submission.ts", "(value) => claimsOurName(value, hostname)", "(value) => claimsOurName(value, hostname) && value === hostname", ["message/submission", "dialogs"]),
  breaking("D09", "silence has no end", "server/connection.ts", `else this.#interrupt("timeout", replies.timeout);`, "", ["dialogs"]),
  // BDAT
  breaking("B01", "LAST is not heard", "server/smtp/arguments.ts", "last: found[2] !== undefined", "last: false", machine),
  breaking("B02", "a chunk out of sequence is run as commands", session, `this.#mode = { kind: "skip", left: size,`, `this.#mode = { kind: "skip", left: 0,`, machine),
  breaking("B02", "a size of no digits is 0", "server/smtp/arguments.ts", "/^([0-9]{1,20})(?: +(LAST))?$/i", "/^([0-9]{0,20}).*?(?: +(LAST))?$/i", machine),
  breaking("B03", "commands are legal between chunks", session, `this.#state = "chunks";\n    this.#mode`, "this.#mode", machine),
  breaking("B04", "BINARYMIME is taken", "server/smtp/params.ts", `return body === "7BIT" || body === "8BITMIME" ? { body }`, `return body === "7BIT" || body === "8BITMIME" || body === "BINARYMIME" ? { body: "8BITMIME" }`, ["smtp/params"]),
  // AUTH and TLS
  breaking("U01", "submission takes mail from anybody", session, `if (this.#options.role === "submission" && !this.#authenticated) {`, `if (this.#options.role === "submission" && this.#authenticated) {`, machine),
  breaking("U01", "passwords may come in the clear", session, "!this.#authenticated && (this.#encrypted || inClear);", "!this.#authenticated;", machine),
  breaking("U02", "white space in base64 is passed over", "server/smtp/sasl.ts", "if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined;", "", ["smtp/sasl"]),
  breaking("U02", "an empty password is one", "server/smtp/sasl.ts", `if (user === "" || secret === "" || secret.includes("\\0")) return undefined;`, `if (user === "" || secret.includes("\\0")) return undefined;`, ["smtp/sasl"]),
  breaking("U04", "thirty failures a connection", session, "const failedLogins = 3;", "const failedLogins = 30;", machine),
  breaking("U05", "one may act as another", session, "if (another) return", "if (another && !step.user) return", machine),
  breaking("U05", "STARTTLS forgets no login", session, `this.#authenticated = false;\n    this.#state = "start";`, `this.#state = "start";`, machine),
  breaking("T04", "STARTTLS is taken without a certificate", session, "if (!this.#options.canStartTls) return this.#error(replies.notImplemented);", "", machine),
  // Reports, relaying, PROXY
  breaking("N01", "repeated parameters pass", "server/smtp/params.ts", `if (params.has(keyword)) return bad("repeated");`, "", ["smtp/params"]),
  breaking("N01", "xtext may hold a line end", "server/smtp/params.ts", "if (code < 0x20 || code > 0x7e) printable = false;", "", ["smtp/params"]),
  breaking("N02", "DSN is asked of peers that don't offer it", "server/smtp/client_command.ts", "  if (offered.dsn) {\n    if (notify", "  {\n    if (notify", ["smtp/client"]),
  breaking("R02", "a domain's end is enough", "plugins/relay.ts", ".map((name) => name.slice(1));", ".map((name) => name.slice(2));", ["plugins/relay"]),
  breaking("R03", "a PROXY line may end with LF alone", "server/listen/proxy_protocol.ts", `if (window[end - 1] !== 0x0d) return bad("the PROXY line does not end with CRLF");`, "", ["listen/proxy_protocol"]),
  breaking("R03", "XCLIENT is believed from anybody", session, "if (!proxy) return this.#error(replies.xclientDenied);", "", ["xclient"]),
  breaking("R03", "whoever a proxy says has logged in", "server/smtp/xclient.ts", `if (user !== undefined && login === "login-not-believed") return`, `if (user === "" && login === "login-not-believed") return`, ["smtp/xclient"]),
  breaking("R03", "an attribute of XCLIENT may come twice", "server/smtp/xclient.ts", " || found.has(attribute)) return undefined;", ") return undefined;", ["smtp/xclient"]),
  // The client
  breaking("O01", "a 4xx amid a reply is passed over", "server/smtp/client_reply.ts", "this.#temporary === 0 ? code : this.#temporary", "code", ["smtp/client_reply"]),
  breaking("O01", "a reply may have 640 KiB", "server/smtp/client_reply.ts", "const longestReply = 64 * 1024;", "const longestReply = 640 * 1024;", ["smtp/client_reply"]),
  breaking("O03", "who was refused is named as delivered", "server/smtp/client_transaction.ts", "if (isPositive(reply)) this.#accepted.push(recipient);\n      else this.#refused", "this.#accepted.push(recipient);\n      if (!isPositive(reply)) this.#refused", ["smtp/client"]),
  breaking("O04", "lost behind the dot: certainly not delivered", "server/smtp/client_transaction.ts", `const unknown = failure.kind !== "refused" && (this.#state === "final" || this.#isChunkSent());`, "const unknown = false;", ["smtp/client"]),
  breaking("O05", "what stood behind 220 is read as a reply", "server/smtp/client.ts", `case "encrypting":\n          return this.#reader.clear();`, `case "encrypting":\n          break;`, ["smtp/client"]),
  breaking("O06", "SMTPUTF8 is not asked for", "server/smtp/client_command.ts", `if (says.utf8) command += " SMTPUTF8";`, "", ["smtp/client"]),
  breaking("O06", "the peer's limit of size is not looked at", "server/smtp/client_transaction.ts", "if (offered.size !== undefined && offered.size > 0 && size > offered.size) {", "if (offered.size !== undefined && offered.size > 0 && size > offered.size * 1e9) {", ["smtp/client"]),
  breaking("O08", "an address may break its command", "server/smtp/client_command.ts", String.raw`const plain = /^[!#-;=?-[\]-~]*$/;`, "const plain = /^[^]*$/;", ["smtp/client"]),
  breaking("O08", "a peer's control characters are shown", "server/smtp/client_reply.ts", String.raw`const unprintable = /[\p{Cc}\p{Cs}`, String.raw`const unprintable = /[\p{Cs}`, ["smtp/client_reply"]),
  breaking("G01", "trouble with DNS is for good", "server/delivery/smtp/mx.ts", `kind: "deferred",\n        status: "4.4.3",`, `kind: "failed",\n        status: "4.4.3",`, ["delivery/smtp/routing"]),
  breaking("G02", "mail goes to ourselves", "server/delivery/smtp/mx.ts", "const nearer = named.filter(({ preference }) => preference < own);", "const nearer = named.filter(({ preference }) => preference <= own);", ["delivery/smtp/routing"]),
  breaking("G03", "answers with another id are taken", "server/dns/packet.ts", `if (foundId !== id || !isResponse) return { kind: "foreign" };`, `if (!isResponse) return { kind: "foreign" };`, ["dns"]),
  // Queue, maildir, plugins, logs
  breaking("Q01", "a batch is said to be kept before it is synced", "server/spool/segment_file.ts", `      await this.#file.sync();\n      if (!this.#isInFolder) await disk.syncFolder(folder);`, "      if (!this.#isInFolder) await disk.syncFolder(folder);", ["spool/simulate"]),
  breaking("Q01", "a new segment's folder is not synced", "server/spool/segment_file.ts", "      if (!this.#isInFolder) await disk.syncFolder(folder);\n", "", ["spool/simulate"]),
  breaking("Q02", "damage goes unseen", "server/spool/reader.ts", " || checksum(body) !== header.bodyCheck) {", ") {", ["spool/log"]),
  breaking("Q04", "mail is given up by age alone", "server/delivery/schedule.ts", "if (age > giveUpAfter && attempts >= attemptsNeeded(schedule, giveUpAfter)) return", "if (age > giveUpAfter) return", ["delivery/schedule"]),
  breaking("M02", "a mailbox may be called ..", "plugins/maildir/names.ts", `name === "" || name.startsWith(".") ||`, `name === "" ||`, ["plugins/maildir/names"]),
  breaking("X03", "a plugin that throws has no opinion", "server/chain.ts", "(error) => finish(() => this.#failed(instance, hook, matter, turned, error)),", "() => finish(() => undefined),", ["faulty_plugins"]),
  breaking("X04", "a line end in a value is logged as it is", "server/log/format.ts", String.raw`replace(/["\\]/g, "\\$&").replace(unprintable, escapeForText) +`, String.raw`replace(/["\\]/g, "\\$&") +`, ["log"]),
];
