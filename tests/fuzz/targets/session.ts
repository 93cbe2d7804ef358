/** The session machine: only replies, each question in its place, and the same whatever the split points. */
import { replies, type Reply } from "../../../server/smtp/reply.ts";
import { type Event, type Question, type SessionOptions, SmtpSession } from "../../../server/smtp/session.ts";
import type { Random } from "../../spool/random.ts";
import { dialogSeeds } from "../seeds.ts";
import { type Cut, cutUp, latin1, must, mustBeSame, octets, type Target } from "../target.ts";

const early = "554 5.5.0 You sent bytes";

export const session: Target = {
  name: "session",
  holds: "only replies; every question in its place; whole as octet by octet; RSET works behind anything",
  seeds: dialogSeeds,
  try(input, random) {
    const options = drawnOptions(random);
    const whole = run(options, input, "whole", random);
    for (const cut of ["one octet at a time", "anywhere"] as const) {
      const other = run(options, input, cut, random);
      // What came early is known only where it came at once (CASES P02); until then both are the same.
      const end = [whole.said.indexOf(early), other.said.indexOf(early)].filter((at) => at >= 0);
      const until = end.length > 0 ? Math.min(...end) : undefined;
      mustBeSame(whole.said.slice(0, until), other.said.slice(0, until), `replies, whole and ${cut}`);
      if (until === undefined) {
        mustBeSame(whole.asked.join("\n"), other.asked.join("\n"), `questions, whole and ${cut}`);
      }
    }
  },
  work(input) {
    new Caller(fixed).hear(input);
  },
};

const fixed: SessionOptions = {
  hostname: "mx.test",
  protocol: "smtp",
  role: "mx",
  limits: { message: 100_000, recipients: 1000, errors: 100_000, refusedRecipients: 100 },
  bareNewlines: "normalize",
  canStartTls: false,
  encrypted: false,
  auth: { mechanisms: ["PLAIN"], inClear: true },
  trusted: true,
  unread: () => 0,
};

function drawnOptions(random: Random): SessionOptions {
  return {
    ...fixed,
    protocol: random.chance(0.2) ? "lmtp" : "smtp",
    role: random.chance(0.2) ? "submission" : "mx",
    limits: {
      message: random.pick([40, 1000]),
      recipients: random.pick([1, 3, 100]),
      errors: random.pick([3, 1000]),
      refusedRecipients: random.pick([2, 100]),
    },
    bareNewlines: random.chance(0.3) ? "reject" : "normalize",
    canStartTls: random.chance(0.5),
    encrypted: random.chance(0.2),
    auth: {
      mechanisms: random.chance(0.8) ? ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"] : [],
      inClear: random.chance(0.7),
    },
    trusted: random.chance(0.7),
    ...(random.chance(0.3) && { proxy: random.pick(["login-believed", "login-not-believed"] as const) }),
  };
}

function run(options: SessionOptions, input: Uint8Array, cut: Cut, random: Random): Caller {
  const caller = new Caller(options);
  for (const piece of cutUp(input, cut, random)) {
    caller.hear(piece);
    piece.fill(0x58); // its memory is used for something else now
  }
  caller.mustObeyRset();
  return caller;
}

/** The questions' grammar, kept apart from the machine's own table. */
class Caller {
  said = "";
  readonly asked: string[] = [];
  #options: SessionOptions;
  #session: SmtpSession;
  #is = { greeted: false, open: false, recipients: 0, authenticated: false, encrypted: false, closed: false };
  #content = "";
  #octets = 0;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#is.encrypted = options.encrypted;
    this.#session = new SmtpSession(options);
    this.#session.greet();
    this.#follow();
  }

  hear(bytes: Uint8Array): void {
    if (this.#is.closed) return;
    this.#session.receive(bytes);
    this.#follow();
  }

  /** The state behind anything is one of the table's: a line end, RSET, and nothing is open any more. */
  mustObeyRset(): void {
    const { said, asked } = this;
    [this.said] = [""];
    this.hear(octets("\r\n"));
    // The first two are the responses of a SASL exchange that the line end may have begun: LOGIN wants two.
    for (let tries = 0; tries < 3 && !this.#is.closed && !this.#session.inContent; tries++) {
      this.hear(octets("RSET\r\n"));
    }
    if (!this.#is.closed && !this.#session.inContent) {
      must(
        /^250 [^\n]*\n$/.test(this.said.slice(this.said.lastIndexOf("\n", this.said.length - 2) + 1)),
        () => `RSET was answered ${JSON.stringify(this.said)}`,
      );
      must(!this.#session.inTransaction && !this.#is.open, () => "a transaction is open behind RSET");
    }
    [this.said] = [said];
    asked.splice(asked.length);
  }

  #follow(): void {
    for (let steps = 0;; steps++) {
      must(steps < 100_000, () => "the machine doesn't come to an end");
      const event = this.#session.next();
      if (event.type === "ask") this.#answer(event.question);
      else if (event.type === "content") this.#take(event.bytes);
      else if (event.type === "reset") this.#forget();
      else if (event.type === "xclient") this.#introduce(event.client.login);
      else {
        this.#note(this.#session.takeOutput());
        if (event.type !== "starttls") return this.#end(event);
        must(
          this.#options.canStartTls && !this.#is.encrypted && !this.#is.open,
          () => "TLS begins out of place",
        );
        this.#is = { ...this.#is, greeted: false, authenticated: false, encrypted: true };
        this.asked.push("starttls");
        this.#session.encrypted();
      }
    }
  }

  /** Begins anew as the client that the proxy speaks for, as the connection does. */
  #introduce(login: string | undefined): void {
    const { proxy, ...rest } = this.#options;
    must(proxy !== undefined && !this.#is.open && !this.#is.authenticated, () => "XCLIENT out of place");
    must(login === undefined || proxy === "login-believed", () => "a login that nobody believes");
    this.#note(this.#session.takeOutput());
    this.asked.push("xclient");
    this.#options = rest;
    this.#is = { ...this.#is, greeted: false };
    this.#session = new SmtpSession({ ...rest, encrypted: this.#is.encrypted });
    this.#session.greet();
  }

  #end(event: Event): void {
    if (event.type !== "close") return;
    this.#is.closed = true;
    must(
      !this.#session.inTransaction,
      () => "closed with an open transaction that nobody was told to forget",
    );
  }

  #note(output: string): void {
    this.said += output;
    must(
      /^(?:[2-5]\d\d[ -][\x20-\x7e]{0,506}\r\n)*$/.test(output),
      () => `no reply: ${JSON.stringify(output)}`,
    );
  }

  #take(bytes: Uint8Array): void {
    must(this.#is.recipients > 0, () => "content without a recipient");
    this.#content += latin1(bytes);
    this.#octets += bytes.length;
    must(this.#octets <= this.#options.limits.message, () => "more content than the limit allows");
  }

  #forget(): void {
    this.#is = { ...this.#is, open: false, recipients: 0 };
    [this.#content, this.#octets] = ["", 0];
  }

  #answer(question: Question): void {
    const is = this.#is;
    this.asked.push(JSON.stringify(question, (_key, value) => value instanceof Map ? [...value] : value));
    switch (question.about) {
      case "helo":
        is.greeted = true; // a refused one changes nothing, but every one of these is taken
        if (question.name.startsWith("no")) is.greeted = false;
        must(/^[!-~]+(?: [!-~]+)*$/.test(question.name), () => "a HELO name that is no printable text");
        return this.#session.answer(undefined);
      case "auth":
        must(!is.authenticated && !is.open, () => "asked to log in, twice or amid a transaction");
        must(is.encrypted || this.#options.auth.inClear, () => "a password in the clear");
        is.authenticated = question.credentials.user.length % 3 !== 0;
        return this.#session.answer(is.authenticated ? undefined : replies.loginFailed);
      case "mail": {
        must(!is.open, () => "MAIL amid a transaction");
        must(this.#options.role === "mx" || is.authenticated, () => "MAIL on submission before AUTH");
        is.open = question.sender.local.length % 5 !== 4;
        return this.#session.answer(is.open ? undefined : replies.noSuchUser);
      }
      case "rcpt": {
        must(is.open, () => "RCPT without MAIL");
        const good = question.recipient.local.length % 4 !== 3;
        if (good) is.recipients++;
        must(is.recipients <= this.#options.limits.recipients, () => "more recipients than the limit allows");
        return this.#session.answer(good ? undefined : replies.noSuchUser);
      }
      case "message":
        return this.#keep();
      case "command":
        return this.#session.answer(replies.unknownCommand);
      default:
        return this.#session.answer(replies.cannotVerify);
    }
  }

  #keep(): void {
    must(this.#is.recipients > 0, () => "a message without a recipient");
    must(!/\r(?!\n)|(?<!\r)\n/.test(this.#content), () => "content with a lone CR or LF");
    this.asked.push(this.#content);
    const kept = (n: number): Reply => n % 3 === 2 ? replies.noSuchUser : replies.accepted("ID");
    const answer = this.#options.protocol === "lmtp"
      ? Array.from({ length: this.#is.recipients }, (_, n) => kept(n))
      : kept(this.#content.length);
    this.#forget();
    this.#session.answer(answer);
  }
}
