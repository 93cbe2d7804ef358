/** The client's machines against peers that say anything: they come to an end, and each recipient to one outcome. */
import {
  type ClientOptions,
  type ClientResult,
  type ClientStep,
  type ClientStepwise,
  type ClientTransaction,
  SmtpClient,
} from "../../../server/smtp/client.ts";
import {
  type ClientReply,
  printable,
  ReplyReader,
  replyText,
  statusOf,
} from "../../../server/smtp/client_reply.ts";
import { SecretText } from "../../../server/smtp/sasl.ts";
import type { Random } from "../../spool/random.ts";
import { type Cut, cutUp, latin1, must, mustBeSame, octets, type Target } from "../target.ts";

const ehlo =
  "250-mx.test\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n";
const peers: readonly Uint8Array[] = [
  `220 mx.test\r\n${ehlo}250 sender\r\n250 one\r\n250 two\r\n354 go\r\n250 2.0.0 kept\r\n`,
  `220 mx.test\r\n${ehlo}250 sender\r\n550 no\r\n450 later\r\n250 three\r\n250 kept\r\n250 kept\r\n250 kept\r\n`,
  "220 mx.test\r\n502 what\r\n250 hello\r\n250 sender\r\n250 one\r\n354 go\r\n451-a\r\n250 b\r\n250 reset\r\n",
  "220-a\r\n220 b\r\n250-x\r\n250 STARTTLS\r\n220 go\r\n250-x\r\n250 AUTH PLAIN LOGIN\r\n235 in\r\n250 a\r\n250 b\r\n354\n250\n",
  "220 a\r\n250-x\r\n250 AUTH LOGIN\r\n334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235 in\r\n250 a\r\n250 b\r\n354 go\r\n250 c\r\n",
  "421 too busy\r\n",
  `220 a\r\n${ehlo}250 sender\r\n250 one\r\n554 no\r\n250 reset\r\n250 sender\r\n250 one\r\n354 go\r\n550 no\r\n`,
].map(octets);

export const replies: Target = {
  name: "replies",
  holds: "replies are the same wherever they were cut; what is shown of them is one line of 1 KB",
  seeds: peers,
  try(input, random) {
    const [whole, bytewise, anywhere] = (["whole", "one octet at a time", "anywhere"] as const)
      .map((cut) => JSON.stringify(read(input, cut, random)));
    mustBeSame(whole!, bytewise!, "replies, whole and one octet at a time");
    mustBeSame(whole!, anywhere!, "replies, whole and cut anywhere");
    for (const reply of read(input, "whole", random)) {
      if (typeof reply === "string") continue;
      must(reply.code >= 200 && reply.code < 600 && reply.lines.length > 0, () => `the code ${reply.code}`);
      must(/^[245]\.\d{1,3}\.\d{1,3}$|^3\.0\.0$/.test(statusOf(reply)), () => statusOf(reply));
      mustBeShown(replyText(reply));
    }
    mustBeShown(printable(new TextDecoder().decode(input)));
  },
  work(input) {
    const reader = new ReplyReader();
    reader.push(input);
    while (typeof reader.next() === "object");
    printable(latin1(input));
  },
};

function read(input: Uint8Array, cut: Cut, random: Random): (ClientReply | string)[] {
  const reader = new ReplyReader();
  const found: (ClientReply | string)[] = [];
  for (const piece of cutUp(input, cut, random)) {
    reader.push(piece);
    for (let reply = reader.next(); reply !== undefined; reply = reader.next()) {
      found.push(reply);
      if (typeof reply === "string") return found;
    }
    reader.settle();
    piece.fill(0x58);
  }
  return found;
}

function mustBeShown(text: string): void {
  must(!/[\p{Cc}\u2028\u2029\u202e]/u.test(text), () => `not printable: ${JSON.stringify(text)}`);
  must(new TextEncoder().encode(text).length <= 1024, () => "more than 1 KB");
}

const addresses = [
  "b@x.test",
  "jürgen@x.test",
  "bad address",
  '"a b"@x.test',
  "c@x.test",
  "c@x.test\r\nRSET",
];

function drawnMail(random: Random): ClientTransaction {
  const content = octets(
    random.pick(["", "x", "Subject: x\r\n\r\nhello\r\n", ".\r\n..\r\n", `${"x".repeat(2000)}\r\n`]),
  );
  return {
    sender: random.pick(["", "a@y.test", "ü@y.test"]),
    recipients: Array.from({ length: 1 + random.below(4) }, () => ({ address: random.pick(addresses) })),
    content: random.chance(0.6) ? content : undefined,
    size: content.length,
    eightBit: random.pick(["no", "send", "bounce"]),
    utf8Header: random.chance(0.2),
    ret: random.pick([undefined, "FULL"]),
    envid: random.pick([undefined, "a+b=c"]),
  };
}

function drawnOptions(random: Random): ClientOptions {
  return {
    name: "us.test",
    protocol: random.chance(0.3) ? "lmtp" : "smtp",
    tls: random.pick(["never", "if-offered", "always"]),
    encrypted: random.chance(0.2),
    auth: random.chance(0.3)
      ? { user: "u", password: new SecretText("p"), inTheClear: random.chance(0.8) }
      : undefined,
  };
}

/** Hands a peer's words over piece by piece as they are asked for, and watches what the client says. */
class Line {
  readonly client: SmtpClient;
  readonly #pieces: Uint8Array[];
  #wrote = "";

  constructor(client: SmtpClient, pieces: Iterable<Uint8Array>) {
    this.client = client;
    this.#pieces = [...pieces];
  }

  /** All that was written since the last call. */
  takeWrites(): string {
    const wrote = this.#wrote;
    this.#wrote = "";
    return wrote;
  }

  /** Goes on until something is to be decided. */
  until(random: Random): ClientStep {
    for (let steps = 0; steps < 20_000; steps++) {
      const step = this.client.next();
      switch (step.kind) {
        case "write":
          this.#wrote += latin1(step.bytes);
          continue;
        case "read": {
          const piece = this.#pieces.shift();
          if (piece === undefined) random.chance(0.5) ? this.client.lost() : this.client.timedOut();
          else if (random.chance(0.002)) this.client.abandon();
          else {
            this.client.receive(piece);
            piece.fill(0x58);
          }
          continue;
        }
        case "encrypt":
          if (random.chance(0.2)) this.client.lost();
          else this.client.encrypted();
          continue;
        case "content":
          for (const piece of ["Subject: x\r\n", ".", "\r\n.", "\r", "\nx"]) {
            this.#wrote += latin1(this.client.encode(octets(piece)));
          }
          this.#wrote += latin1(this.client.endContent());
          continue;
        default:
          return step;
      }
    }
    throw new Error("the conversation doesn't come to an end");
  }
}

export const client: Target = {
  name: "client",
  holds:
    "it comes to an end with any peer; each recipient has one outcome, and delivered is only what was sent and taken",
  seeds: peers,
  try(input, random) {
    const options = drawnOptions(random);
    const line = new Line(
      new SmtpClient(options),
      cutUp(input, random.chance(0.5) ? "whole" : "anywhere", random),
    );
    for (let mails = 0; mails < 3; mails++) {
      const step = line.until(random);
      if (step.kind !== "ready") break;
      line.takeWrites();
      const mail = drawnMail(random);
      line.client.begin(mail);
      const after = line.until(random);
      mustBeWhole(line.client.results, mail, line.takeWrites(), options);
      must(after.kind === "ready" || after.kind === "over", () => `then ${after.kind}`);
    }
    if (line.client.next().kind === "ready") line.client.quit();
    must(line.until(random).kind === "over", () => "QUIT doesn't end it");
  },
};

function mustBeWhole(
  results: readonly (ClientResult | undefined)[],
  { recipients }: ClientTransaction,
  wrote: string,
  { protocol }: ClientOptions,
): void {
  must(
    results.length === recipients.length,
    () => `${results.length} results for ${recipients.length} recipients`,
  );
  const sent = /(?:^|\n)\.\r\n|BDAT \d+ LAST\r\n/.test(wrote);
  for (const [n, result] of results.entries()) {
    must(result !== undefined, () => `recipient ${n} has no result`);
    const { address } = recipients[n]!;
    if (result.kind === "delivered") {
      must(sent && result.reply.code < 300, () => "delivered, and it wasn't sent or not taken");
      must(wrote.includes("RCPT TO:"), () => "delivered, and nobody was named");
    }
    if (result.kind === "refused") must(result.reply.code >= 300, () => `refused by ${result.reply.code}`);
    if (/[\r\n ]/.test(address) && !address.startsWith('"')) {
      must(result.kind !== "delivered", () => `${JSON.stringify(address)} was sent`);
    }
  }
  const envelope = wrote.split(/DATA\r\n|BDAT /)[0]!;
  for (const command of envelope.split("\r\n").slice(0, -1)) {
    must(
      /^(?:MAIL FROM:<|RCPT TO:<|RSET|EHLO |LHLO |HELO )|^$/.test(command) || !envelope.startsWith("MAIL"),
      () => `said ${JSON.stringify(command)}`,
    );
  }
  if (protocol !== "lmtp") {
    const replies = new Set(
      results.filter((one) => one?.kind === "delivered").map((one) => JSON.stringify(one)),
    );
    must(replies.size <= 1, () => "one message, two yeses");
  }
}

export const stepwise: Target = {
  name: "stepwise",
  holds: "each step of a proxied transaction comes to one result; a yes to the message only behind all of it",
  seeds: peers,
  try(input, random) {
    const line = new Line(
      new SmtpClient({ ...drawnOptions(random), protocol: "smtp" }),
      cutUp(input, random.chance(0.5) ? "whole" : "anywhere", random),
    );
    for (let mails = 0; mails < 3 && line.until(random).kind === "ready"; mails++) {
      line.client.open(
        { sender: "a@y.test", size: random.pick([undefined, 10]), utf8: random.chance(0.3), forwarded: [] },
        { address: random.pick(addresses) },
      );
      for (let steps = 0; steps < 6; steps++) {
        const step = line.until(random);
        mustHaveResult(line);
        if (step.kind !== "paused") break;
        line.client.step(drawnStep(random));
      }
      if (line.until(random).kind === "paused") line.client.step({ kind: "rset" });
    }
    if (line.until(random).kind === "ready") line.client.quit();
    must(line.until(random).kind === "over", () => "QUIT doesn't end it");
  },
};

function drawnStep(random: Random): ClientStepwise {
  const { content, size, eightBit, utf8Header } = drawnMail(random);
  if (random.chance(0.5)) return { kind: "rcpt", recipient: { address: random.pick(addresses) } };
  return random.chance(0.8) ? { kind: "data", content, size, eightBit, utf8Header } : { kind: "rset" };
}

function mustHaveResult({ client }: Line): void {
  const result = client.stepResult;
  if (result === undefined) return; // behind RSET
  if (result.kind !== "replied" || result.phase !== "final") return;
  must(
    result.reply.code >= 300 || client.isSent || client.next().kind === "ready",
    () => "taken before it was sent",
  );
}
