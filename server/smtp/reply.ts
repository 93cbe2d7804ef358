/** Replies (RFC 5321 §4.2) with their enhanced status codes (RFC 2034, 3463), and the catalogue of all that the core says. */

/** One reply: a code, and a line or more of text. */
export interface Reply {
  /** Three digits, RFC 5321 §4.2.3. */
  readonly code: number;
  /** Enhanced status code; none on greetings, replies to EHLO/HELO/LHLO (RFC 2034 §4) and 3xx. */
  readonly status: string | undefined;
  /** At least one; printable text without CR or LF. */
  readonly lines: readonly string[];
  /** Whether the connection is closed once this is sent. */
  readonly closes: boolean;
}

/** The longest text of a reply line we send, so that code, status and CRLF fit into RFC 5321 §4.5.3.1.5's 512 octets. */
const longestText = 480;

/** Makes a reply; `text` may be several lines. */
export function reply(code: number, status: string | undefined, ...text: readonly string[]): Reply {
  return { code, status, lines: text, closes: false };
}

/** Makes a reply after which the connection is closed (RFC 5321 §3.8: 421, or after 554 at connect). */
export function closing(code: number, status: string | undefined, ...text: readonly string[]): Reply {
  return { code, status, lines: text, closes: true };
}

/** 2xx: it was done. */
export const isPositive = (reply: Reply): boolean => reply.code < 300;
/** 4xx: not now. */
export const isTemporary = (reply: Reply): boolean => reply.code >= 400 && reply.code < 500;

/** The reply as it goes onto the wire, each line with the code, the status and CRLF. */
export function format({ code, status, lines }: Reply): string {
  const mark = status === undefined ? "" : `${status} `;
  if (lines.length === 1 && lines[0]!.length <= longestText) return `${code} ${mark}${lines[0]}\r\n`;
  const short = lines.flatMap((line) => wrap(line));
  return short.map((line, i) => `${code}${i === short.length - 1 ? " " : "-"}${mark}${line}\r\n`).join("");
}

/** Long text goes on several lines, broken at spaces where there are some. */
function wrap(line: string): string[] {
  const out: string[] = [];
  while (line.length > longestText) {
    const space = line.lastIndexOf(" ", longestText);
    const at = space > 0 ? space : longestText;
    out.push(line.slice(0, at));
    line = line.slice(space > 0 ? at + 1 : at);
  }
  return [...out, line];
}

/** Every reply the core gives on its own account. A plugin's verdict becomes one in `chain.ts`. */
export const replies = {
  // ── The session
  greeting: (hostname: string, protocol: "smtp" | "lmtp") =>
    reply(220, undefined, `${hostname} ${protocol === "lmtp" ? "LMTP" : "ESMTP"} ready`),
  hello: (hostname: string, extensions: readonly string[]) => reply(250, undefined, hostname, ...extensions),
  bye: closing(221, "2.0.0", "Closing the channel, goodbye"),
  ok: reply(250, "2.0.0", "OK"),
  help: reply(
    214,
    "2.0.0",
    "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY EXPN HELP QUIT STARTTLS AUTH",
    "See RFC 5321",
  ),
  readyForTls: reply(220, "2.0.0", "Ready to start TLS"),

  // ── Commands that are not understood, or come at the wrong time
  unknownCommand: reply(500, "5.5.1", "Command not recognised"),
  lineTooLong: reply(500, "5.5.2", "Line too long"),
  badLine: reply(500, "5.5.2", "A command ends with CRLF and holds no other CR, LF or NUL"),
  notImplemented: reply(502, "5.5.1", "Command not implemented"),
  /** RFC 5321 appendix F.1: it would give the queue to whoever connects. RFC 1985 is what came instead. */
  noTurn: reply(502, "5.5.1", "TURN is not implemented: ETRN (RFC 1985) starts a queue, for those who may"),
  badArgument: reply(501, "5.5.4", "Argument missing or not understood"),
  badHelo: reply(501, undefined, "Argument missing, not printable or over 255 octets"),
  noArgument: reply(501, "5.5.4", "This command takes no argument"),
  heloFirst: reply(503, "5.5.1", "Say EHLO first"),
  mailFirst: reply(503, "5.5.1", "MAIL first"),
  rcptFirst: reply(503, "5.5.1", "No recipient was accepted"),
  alreadyMail: reply(503, "5.5.1", "A transaction is open: RSET ends it"),
  inTransaction: reply(503, "5.5.1", "Not while a transaction is open"),
  inChunks: reply(503, "5.5.1", "Not between BDAT chunks"),
  notSmtp: closing(554, "5.5.0", "This is not a web server"),
  tooEarly: closing(554, "5.5.0", "You sent bytes before our reply: not taken as commands"),
  endless: closing(500, "5.5.2", "Line too long, closing"),

  // ── The envelope
  senderOk: reply(250, "2.1.0", "Sender OK"),
  recipientOk: reply(250, "2.1.5", "Recipient OK"),
  badSender: reply(501, "5.1.7", "The sender's address is not understood"),
  badRecipient: reply(501, "5.1.3", "The recipient's address is not understood"),
  notUtf8: reply(501, "5.5.2", "Not printable text in UTF-8"),
  needsSmtpUtf8: reply(553, "5.6.7", "Addresses outside ASCII need SMTPUTF8"),
  badParameter: (name: string) => reply(501, "5.5.4", `Parameter ${name} is malformed`),
  repeatedParameter: (name: string) => reply(501, "5.5.4", `Parameter ${name} is given twice`),
  unknownParameter: (name: string) => reply(555, "5.5.4", `Parameter ${name} is not recognised`),
  tooBig: reply(552, "5.3.4", "The message is larger than this server takes"),
  tooManyRecipients: reply(452, "4.5.3", "Too many recipients: send the others in another transaction"),
  relayDenied: reply(550, "5.7.1", "We do not relay for you to this address"),
  anotherWay: reply(452, "4.5.3", "This recipient goes another way: send it in another transaction"),
  noSuchUser: reply(550, "5.1.1", "No such mailbox here"),

  // ── The message
  startContent: reply(354, undefined, "Go ahead, end with <CRLF>.<CRLF>"),
  chunkOk: (octets: number) => reply(250, "2.0.0", `${octets} octets received`),
  badChunk: closing(501, "5.5.4", "BDAT takes a number of octets: the place in the stream is lost"),
  accepted: (id: string) => reply(250, "2.0.0", `Queued as ${id}`),
  deliveredNow: (id: string) => reply(250, "2.0.0", `Delivered as ${id}`),
  bareNewline: reply(550, "5.5.2", "Lines end with CRLF: this message holds a lone CR or LF"),
  looping: reply(554, "5.4.6", "Too many hops: this message is in a loop"),
  noRoom: reply(452, "4.3.1", "No room for the message now, please try again later"),
  notStored: reply(451, "4.3.0", "The message could not be stored, please try again later"),

  // ── Logging in
  loggedIn: reply(235, "2.7.0", "Welcome"),
  challenge: (text: string) => reply(334, undefined, text),
  loginFailed: reply(535, "5.7.8", "User name or password is not right"),
  loginTwice: reply(503, "5.5.1", "Already logged in"),
  loginNotHere: reply(503, "5.5.1", "AUTH is not offered now"),
  loginCancelled: reply(501, "5.7.0", "Cancelled"),
  badBase64: reply(501, "5.5.2", "Not base64"),
  badSasl: reply(501, "5.5.2", "Malformed response"),
  unknownMechanism: reply(504, "5.5.4", "Mechanism not offered"),
  loginTooLong: reply(500, "5.5.6", "Response too long"),
  tooManyLogins: closing(421, "4.7.0", "Too many failed logins"),
  loginRequired: reply(530, "5.7.0", "Log in first"),
  tlsRequired: reply(530, "5.7.0", "Say STARTTLS first"),
  badXclient: reply(501, "5.5.4", "XCLIENT takes ADDR, and attributes that EHLO offers, in xtext"),
  xclientDenied: reply(550, "5.7.1", "You may not say whose this connection is"),
  loginNotBelieved: reply(550, "5.7.1", "You may not say who has logged in"),
  xclientTooLate: reply(503, "5.5.1", "XCLIENT comes before AUTH and MAIL"),
  alreadyTls: reply(503, "5.5.1", "TLS is running already"),

  // ── VRFY and EXPN
  cannotVerify: reply(252, "2.5.0", "Not verified: send the message and see"),

  // ── The connection's end
  tooManyErrors: closing(421, "4.7.0", "Too many errors"),
  tooManyRefused: closing(421, "4.7.0", "Too many refused recipients"),
  tooManyConnections: closing(421, "4.7.0", "Too many connections, please come back later"),
  timeout: closing(421, "4.4.2", "Nothing heard for too long"),
  shutdown: closing(421, "4.3.2", "Shutting down, please come back later"),

  // ── A plugin failed: temporary, whatever it was (promise 3)
  pluginFailed: reply(451, "4.3.0", "Something went wrong here, please try again later"),
  pluginBroken: reply(550, "5.3.0", "This server cannot handle the message"),
  pluginFailedClosing: closing(421, "4.3.0", "Something went wrong here, please try again later"),
  loginFailedTemporarily: reply(454, "4.7.0", "Logging in does not work now, please try again later"),
} as const;
