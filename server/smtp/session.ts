/**
 * The server's side of an SMTP or LMTP session as a pure machine: bytes in, events out. Every rule of sequence stands in
 * one table, {@linkcode rules}: a verb, when it is legal, what argument it takes, how it proceeds.
 *
 * The caller pulls: `receive` bytes, then `next` until it says `more`; an `ask` wants an `answer` before the next `next`.
 * Replies gather in `takeOutput`, so that those of one group leave together (RFC 2920 §3.2).
 */
import { readAuth, readBdat, readHello, readMail, readRcpt } from "./arguments.ts";
import { isClientHello, lineLimit, obsolete, parseCommand, type Verb } from "./command.ts";
import type { Event, Question, SessionOptions } from "./events.ts";
import { Inbox } from "./line.ts";
import { type ContentProblem, type ContentRules, MessageReader } from "./reader.ts";
import { format, isPositive, replies, type Reply } from "./reply.ts";
import type { Mechanism, SaslExchange, SaslStep } from "./sasl.ts";
import { readXclient, xclientExtension } from "./xclient.ts";

export type { Event, Question, SessionOptions } from "./events.ts";

/** Where the session stands between two commands. */
type State = "start" | "idle" | "mail" | "rcpt" | "chunks";

/** What the next bytes are. */
type Mode =
  | { readonly kind: "commands" }
  | { readonly kind: "response"; readonly exchange: SaslExchange }
  | { readonly kind: "message"; readonly reader: MessageReader }
  /** A chunk that is not wanted: its octets are no commands all the same (CASES B02). */
  | { readonly kind: "skip"; left: number; readonly reply: Reply }
  | { readonly kind: "closed" };

type Answer = Reply | readonly Reply[] | undefined;
type Step = Event | undefined;

/** How a verb is treated. */
interface Rule {
  readonly legal: readonly State[];
  /** `group`: nothing may follow it before its reply (RFC 2920 §3.1); `idle`: too many of them are an error (CASES C11). */
  readonly is?: "group" | "idle";
  readonly argument: "none" | "required" | "optional";
  readonly run: (session: SmtpSession, argument: string, ascii: boolean) => Step;
}

const more: Event = { type: "more" };
const reset: Event = { type: "reset" };
const commands: Mode = { kind: "commands" };
const closed: Mode = { kind: "closed" };
const always: readonly State[] = ["start", "idle", "mail", "rcpt", "chunks"];
/** NOOP, RSET, VRFY and HELP that cost nothing. */
const idleCommands = 100;
const saslProblems = {
  base64: replies.badBase64,
  cancelled: replies.loginCancelled,
  malformed: replies.badSasl,
} as const;
/** Failed logins that end the connection (CASES U04). */
const failedLogins = 3;

/** The machine. */
export class SmtpSession {
  static readonly #hello: Rule = {
    legal: always,
    is: "group",
    argument: "required",
    run: (session, name) => session.#sayHello(name, true),
  };
  static readonly #unknown: Rule = {
    legal: always,
    argument: "optional",
    run: (session) => session.#error(replies.unknownCommand),
  };

  // deno-fmt-ignore
  /** THE TABLE: every verb, when it is legal, what it takes, how it proceeds. */
  static readonly #smtpRules: Readonly<Record<Verb, Rule>> = {
    EHLO: SmtpSession.#hello,
    HELO: { ...SmtpSession.#hello, run: (session, name) => session.#sayHello(name, false) },
    LHLO: SmtpSession.#unknown,
    MAIL: { legal: ["idle"], argument: "required", run: (session, argument, ascii) => session.#mail(argument, ascii) },
    RCPT: { legal: ["mail", "rcpt"], argument: "required", run: (session, argument, ascii) => session.#rcpt(argument, ascii) },
    DATA: { legal: ["rcpt"], is: "group", argument: "none", run: (session) => session.#data() },
    BDAT: { legal: always, argument: "optional", run: (session, argument) => session.#bdat(argument) },
    RSET: { legal: always, is: "idle", argument: "none", run: (session) => session.#rset() },
    NOOP: { legal: always, is: "idle", argument: "optional", run: (session) => session.#say(replies.ok) },
    HELP: { legal: always, is: "idle", argument: "optional", run: (session) => session.#say(replies.help) },
    VRFY: { legal: always, is: "idle", argument: "required", run: (session, text) => session.#verify("vrfy", text) },
    EXPN: { legal: always, is: "idle", argument: "required", run: (session, text) => session.#verify("expn", text) },
    QUIT: { legal: always, argument: "none", run: (session) => session.#quit() },
    STARTTLS: { legal: ["idle"], is: "group", argument: "none", run: (session) => session.#startTls() },
    AUTH: { legal: ["idle"], is: "group", argument: "required", run: (session, argument) => session.#auth(argument) },
    XCLIENT: { legal: ["start", "idle"], is: "group", argument: "required", run: (session, argument) => session.#xclient(argument) },
  };

  /** LMTP has LHLO instead of EHLO and HELO (RFC 2033 §4.1). */
  static readonly #lmtpRules: Readonly<Record<Verb, Rule>> = {
    ...SmtpSession.#smtpRules,
    EHLO: SmtpSession.#unknown,
    HELO: SmtpSession.#unknown,
    LHLO: SmtpSession.#hello,
  };

  readonly #options: SessionOptions;
  readonly #inbox = new Inbox();
  readonly #rules: Readonly<Record<Verb, Rule>>;
  #output = "";
  #state: State = "start";
  #mode: Mode = commands;
  #pending: ((answer: Answer) => Step) | undefined;
  #queued: Step;
  #encrypted: boolean;
  #authenticated: boolean;
  /** Whether XCLIENT may still come: before anything that is one client's own (CASES R03). */
  #introduction: "possible" | "over" = "possible";
  #transaction = { recipients: 0, asked: 0, utf8: false, chunks: undefined as MessageReader | undefined };
  #counted = { errors: 0, refused: 0, idle: 0, logins: 0 };
  #closing: "quit" | "refused" = "refused";

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#encrypted = options.encrypted;
    this.#authenticated = options.authenticated ?? false;
    this.#rules = options.protocol === "lmtp" ? SmtpSession.#lmtpRules : SmtpSession.#smtpRules;
  }

  // ── What the caller calls ────────────────────────────────────────────────────────────────────────

  /** Whether a transaction is open: a shutdown lets it finish. */
  get inTransaction(): boolean {
    return this.#state === "mail" || this.#state === "rcpt" || this.#state === "chunks";
  }

  /** Whether message octets are being awaited, which has its own time-out. */
  get inContent(): boolean {
    return this.#mode.kind === "message" || this.#mode.kind === "skip";
  }

  /** The number of reply characters that wait in `takeOutput`. */
  get outputSize(): number {
    return this.#output.length;
  }

  /** The replies to write now. */
  takeOutput(): string {
    const output = this.#output;
    this.#output = "";
    return output;
  }

  /** Greets, or says why not and closes. */
  greet(objection?: Reply): void {
    this.#say(objection ?? replies.greeting(this.#options.hostname, this.#options.protocol));
    if (objection) this.#mode = closed;
  }

  /** Bytes from the client; their memory may be reused once `next` has said `more`. */
  receive(bytes: Uint8Array): void {
    this.#inbox.push(bytes);
  }

  /** Lets go of the memory of the last `receive` before `next` has said `more`. */
  settle(): void {
    this.#inbox.settle();
  }

  /** TLS runs now: the session starts anew (RFC 3207 §4.2, CASES U05). */
  encrypted(): void {
    this.#encrypted = true;
    this.#authenticated = false;
    this.#state = "start";
    this.#inbox.clear();
  }

  /** Somebody has logged in without AUTH: another server has seen to it. */
  vouched(): void {
    this.#authenticated = true;
  }

  /** Ends the session with this reply (time-out, shutdown); `next` then says what is to be forgotten, and `close`. */
  end(reply: Reply): void {
    this.#pending = undefined;
    this.#say(reply);
    this.#mode = closed;
  }

  /** The answer to the last `ask`: a reply, for LMTP's `message` one for each accepted RCPT, or nothing: no objection. */
  answer(answer: Answer): void {
    const proceed = this.#pending;
    if (!proceed) throw new Error("answer() without a question");
    this.#pending = undefined;
    this.#queued = proceed(answer);
  }

  /** What to do next. */
  next(): Event {
    if (this.#pending) throw new Error("next() before answer()");
    for (;;) {
      const step = this.#queued ?? this.#step();
      this.#queued = undefined;
      if (!step) continue;
      if (step === more) this.#inbox.settle();
      return step;
    }
  }

  // ── Reading ──────────────────────────────────────────────────────────────────────────────────────

  #step(): Step {
    const mode = this.#mode;
    switch (mode.kind) {
      case "closed":
        if (this.inTransaction) return this.#forget();
        return { type: "close", reason: this.#closing };
      case "message":
        return this.#message(mode.reader);
      case "skip":
        return this.#skip(mode);
      default:
        return this.#line(mode);
    }
  }

  #line(mode: Mode): Step {
    const place = this.#inbox.skip();
    if (place !== "line") return place === "endless" ? this.#say(replies.endless) : more;
    const start = this.#inbox.peek();
    if (start.length === 0) return more;
    if (mode.kind === "commands" && isClientHello(start)) return this.#say(replies.notSmtp);
    const line = this.#inbox.line(mode.kind === "response" ? 12_288 : lineLimit(start));
    switch (line.kind) {
      case "incomplete":
        return more;
      case "line":
        return mode.kind === "response"
          ? this.#response(mode.exchange, line.bytes)
          : this.#command(line.bytes);
      case "too-long":
      case "bad":
        this.#mode = commands;
        if (mode.kind === "response") {
          return this.#error(line.kind === "bad" ? replies.badBase64 : replies.loginTooLong);
        }
        return this.#error(line.kind === "bad" ? replies.badLine : replies.lineTooLong);
    }
  }

  #command(bytes: Uint8Array): Step {
    const command = parseCommand(bytes);
    if (command.kind === "foreign") return this.#say(replies.notSmtp);
    if (command.kind === "no-verb") return this.#error(replies.unknownCommand);
    if (command.kind === "bad-argument") return this.#error(replies.notUtf8);
    const { verb, argument, ascii } = command;
    if (obsolete.has(verb)) return this.#error(verb === "TURN" ? replies.noTurn : replies.notImplemented);
    const rule = Object.hasOwn(this.#rules, verb) ? this.#rules[verb as Verb] : undefined;
    if (!rule) {
      // What EHLO offers has its place in the session; what nobody announced is whoever's it is to know.
      if (
        this.#state !== "idle" && this.#options.extensions?.().some((text) => text.split(" ", 1)[0] === verb)
      ) {
        return this.#error(this.#state === "start" ? replies.heloFirst : replies.inTransaction);
      }
      return this.#ask({ about: "command", verb, argument }, (reply) => this.#result(reply as Reply));
    }

    if (rule.is === "idle" && ++this.#counted.idle > idleCommands && this.#oneTooMany()) return undefined;
    const before = this.#output;
    const step = this.#obey(rule, verb as Verb, argument, ascii);
    if (rule.is === "group" && step === undefined) this.#refuseEarly(before);
    return step;
  }

  /** A command that is known: what the table says of it. */
  #obey(rule: Rule, verb: Verb, argument: string, ascii: boolean): Step {
    if (rule.argument === "none" && argument !== "") return this.#error(replies.noArgument);
    if (!rule.legal.includes(this.#state)) return this.#error(this.#outOfSequence(verb));
    if (rule.argument === "required" && argument === "") {
      return this.#error(
        verb === "EHLO" || verb === "HELO" || verb === "LHLO" ? replies.badHelo : replies.badArgument,
      );
    }
    return rule.run(this, argument, ascii);
  }

  /**
   * Behind a command that ends a group, bytes that came before our reply are nobody's commands (RFC 2920 §3.1, CASES P02).
   *
   * @param before The output without this command's reply, which is not given then.
   */
  #refuseEarly(before: string): void {
    if (this.#mode === closed || this.#inbox.size + this.#options.unread() === 0) return;
    this.#output = before;
    this.#say(replies.tooEarly);
  }

  #outOfSequence(verb: Verb): Reply {
    if (this.#state === "start") return replies.heloFirst;
    if (this.#state === "chunks") return replies.inChunks;
    switch (verb) {
      case "MAIL":
        return replies.alreadyMail;
      case "RCPT":
        return replies.mailFirst;
      case "DATA":
        return this.#state === "idle" ? replies.mailFirst : replies.rcptFirst;
      default:
        return replies.inTransaction;
    }
  }

  // ── Saying ───────────────────────────────────────────────────────────────────────────────────────

  #say(reply: Reply): undefined {
    this.#output += format(reply);
    if (reply.closes) this.#mode = closed;
  }

  /** A protocol error: one too many ends the session, unless a recipient was accepted (CASES C11). */
  #error(reply: Reply): undefined {
    if (!this.#oneTooMany()) this.#say(reply);
  }

  #oneTooMany(): boolean {
    if (++this.#counted.errors <= this.#options.limits.errors || this.#transaction.recipients > 0) {
      return false;
    }
    this.#say(replies.tooManyErrors);
    return true;
  }

  #ask(question: Question, proceed: (answer: Answer) => Step): Event {
    this.#pending = proceed;
    return { type: "ask", question };
  }

  /** Says an answer, and counts it where it says that the command was wrong. */
  #result(reply: Reply): undefined {
    if (reply.code >= 500 && reply.code <= 504) this.#error(reply);
    else this.#say(reply);
  }

  #forget(refused?: Reply): Event {
    this.#state = "idle";
    this.#transaction = { recipients: 0, asked: 0, utf8: false, chunks: undefined };
    return refused ? { type: "reset", refused } : reset;
  }

  // ── The commands ─────────────────────────────────────────────────────────────────────────────────

  #sayHello(argument: string, extended: boolean): Step {
    const name = readHello(argument);
    if (name.kind === "refused") return this.#error(name.reply);
    return this.#ask({ about: "helo", name: name.value, extended }, (objection) => {
      const { hostname, trusted } = this.#options;
      const [before, open] = [this.#output, this.inTransaction];
      this.#say((objection as Reply) ?? replies.hello(hostname, extended ? this.#extensions() : []));
      if (!trusted) this.#refuseEarly(before);
      if (objection) return undefined;
      if (open) return this.#forget();
      this.#state = "idle";
      return undefined;
    });
  }

  #extensions(): string[] {
    const { limits } = this.#options;
    const offered = [
      "PIPELINING",
      `SIZE ${limits.message}`,
      "8BITMIME",
      "SMTPUTF8",
      "ENHANCEDSTATUSCODES",
      "CHUNKING",
      "DSN",
    ];
    if (this.#options.canStartTls && !this.#encrypted) offered.push("STARTTLS");
    if (this.#mayAuth()) offered.push(`AUTH ${this.#mechanisms().join(" ")}`);
    const { proxy } = this.#options;
    if (proxy && this.#introduction === "possible") offered.push(xclientExtension(proxy));
    return [...offered, ...this.#options.extensions?.() ?? [], "HELP"];
  }

  #mechanisms(): readonly Mechanism[] {
    const { mechanisms, canBind } = this.#options.auth;
    return canBind?.() ? mechanisms : mechanisms.filter((one) => one !== "SCRAM-SHA-256-PLUS");
  }

  #mayAuth(): boolean {
    const { mechanisms, inClear } = this.#options.auth;
    return mechanisms.length > 0 && !this.#authenticated && (this.#encrypted || inClear);
  }

  #mail(argument: string, ascii: boolean): Step {
    this.#introduction = "over";
    if (this.#options.role === "submission" && !this.#authenticated) {
      const clear = !this.#encrypted && !this.#options.auth.inClear;
      return this.#error(clear ? replies.tlsRequired : replies.loginRequired); // RFC 6409 §4.3
    }
    const command = readMail(argument, ascii);
    if (command.kind === "refused") return this.#error(command.reply);
    const { sender, params } = command.value;
    if ((params.size ?? 0) > this.#options.limits.message) return this.#say(replies.tooBig);
    return this.#ask({ about: "mail", sender, params }, (objection) => {
      if (objection) return this.#say(objection as Reply);
      this.#state = "mail";
      this.#transaction.utf8 = params.smtputf8;
      return this.#say(replies.senderOk);
    });
  }

  #rcpt(argument: string, ascii: boolean): Step {
    const command = readRcpt(argument, { ascii, utf8: this.#transaction.utf8 });
    if (command.kind === "refused") return this.#error(command.reply);
    const { recipients, refusedRecipients } = this.#options.limits;
    // The refused ones count as well in the end: who has one accepted recipient could ask about all others else.
    const full = this.#transaction.recipients >= recipients ||
      this.#transaction.asked >= recipients + refusedRecipients;
    if (full) return this.#say(replies.tooManyRecipients);
    this.#transaction.asked++;
    return this.#ask({ about: "rcpt", ...command.value }, (answer) => {
      const said = (answer as Reply | undefined) ?? replies.recipientOk;
      if (!isPositive(said)) return this.#refusedRecipient(said);
      this.#state = "rcpt";
      this.#transaction.recipients++;
      return this.#say(said);
    });
  }

  #refusedRecipient(reply: Reply): undefined {
    if (reply.code >= 500) this.#counted.refused++;
    const cut = this.#counted.refused > this.#options.limits.refusedRecipients &&
      this.#transaction.recipients === 0;
    this.#say(cut ? replies.tooManyRefused : reply);
  }

  #rset(): Step {
    this.#say(replies.ok);
    return this.inTransaction ? this.#forget() : undefined;
  }

  #verify(about: "vrfy" | "expn", text: string): Step {
    return this.#ask({ about, text }, (reply) => this.#result(reply as Reply));
  }

  #quit(): Step {
    this.#closing = "quit";
    return this.#say(replies.bye);
  }

  #startTls(): Step {
    if (this.#encrypted) return this.#error(replies.alreadyTls);
    if (!this.#options.canStartTls) return this.#error(replies.notImplemented);
    // The channel looks for early bytes itself, in the same breath in which it hands over (CASES T01).
    return this.#inbox.size > 0 ? this.#say(replies.tooEarly) : { type: "starttls" };
  }

  // ── XCLIENT ──────────────────────────────────────────────────────────────────────────────────────

  /**
   * Once, and before the proxy has done anything in its own name. Postfix takes it again and again, from the client as well where a
   * proxy passes its commands on: that one could then be whoever it likes.
   */
  #xclient(argument: string): Step {
    const { proxy } = this.#options;
    if (!proxy) return this.#error(replies.xclientDenied);
    if (this.#introduction === "over") return this.#error(replies.xclientTooLate);
    const read = readXclient(argument, proxy);
    switch (read.kind) {
      case "malformed":
        return this.#error(replies.badXclient);
      case "login-not-believed":
        return this.#error(replies.loginNotBelieved);
      case "client":
        if (this.#inbox.size + this.#options.unread() > 0) return this.#say(replies.tooEarly);
        return { type: "xclient", client: read.client };
    }
  }

  // ── AUTH (RFC 4954) ──────────────────────────────────────────────────────────────────────────────

  #auth(argument: string): Step {
    this.#introduction = "over";
    if (this.#authenticated) return this.#error(replies.loginTwice);
    if (!this.#mayAuth()) {
      const possible = this.#options.auth.mechanisms.length > 0 && this.#options.role === "submission";
      return this.#error(possible ? replies.tlsRequired : replies.loginNotHere);
    }
    const login = readAuth(argument, this.#mechanisms());
    if (login.kind === "refused") return this.#error(login.reply);
    return this.#sasl(login.value.exchange, login.value.step);
  }

  #response(exchange: SaslExchange, bytes: Uint8Array): Step {
    this.#mode = commands;
    const before = this.#output;
    const step = this.#sasl(exchange, exchange.next(String.fromCharCode(...bytes)));
    if (step === undefined) this.#refuseEarly(before);
    return step;
  }

  #sasl(exchange: SaslExchange, step: SaslStep): Step {
    if (step.kind === "challenge") {
      this.#mode = { kind: "response", exchange };
      return this.#say(replies.challenge(step.text));
    }
    if (step.kind === "bad") {
      return this.#error(saslProblems[step.problem]);
    }
    if (step.kind === "message") {
      const { mechanism, text: message, turn } = step;
      return this.#ask({ about: "proof", mechanism, message, turn }, (answer) => {
        const said = answer as Reply | undefined;
        if (said?.code !== 334) return this.#loggedIn(said);
        const before = this.#output;
        this.#mode = { kind: "response", exchange };
        this.#say(said);
        this.#refuseEarly(before);
        return undefined;
      });
    }
    const another = step.authorizationId !== "" &&
      step.authorizationId.toLowerCase() !== step.user.toLowerCase();
    if (another) return this.#loginFailed(replies.loginFailed); // nobody acts as somebody else (CASES U05)
    return this.#ask(
      { about: "auth", credentials: step },
      (objection) => this.#loggedIn(objection as Reply | undefined),
    );
  }

  #loggedIn(objection: Reply | undefined): undefined {
    const before = this.#output;
    if (objection?.code === 501) this.#error(objection);
    else if (objection) this.#loginFailed(objection);
    else {
      this.#authenticated = true;
      this.#say(replies.loggedIn);
    }
    this.#refuseEarly(before);
    return undefined;
  }

  #loginFailed(reply: Reply): undefined {
    const last = reply.code >= 500 && ++this.#counted.logins >= failedLogins;
    this.#say(last ? replies.tooManyLogins : reply);
  }

  // ── Content: DATA (RFC 5321 §4.1.1.4) and BDAT (RFC 3030) ────────────────────────────────────────

  #data(): Step {
    this.#mode = { kind: "message", reader: MessageReader.data(this.#contentRules()) };
    return this.#say(replies.startContent);
  }

  #bdat(argument: string): Step {
    const chunk = readBdat(argument);
    if (chunk.kind === "refused") return this.#say(chunk.reply);
    const { size, last } = chunk.value;
    if (this.#state !== "rcpt" && this.#state !== "chunks") {
      this.#mode = { kind: "skip", left: size, reply: this.#outOfSequence("DATA") };
      return undefined;
    }
    const reader = this.#transaction.chunks ??= MessageReader.chunks(this.#contentRules());
    reader.chunk(size, last);
    this.#state = "chunks";
    this.#mode = { kind: "message", reader };
    return undefined;
  }

  #contentRules(): ContentRules {
    const { limits, bareNewlines } = this.#options;
    return { limit: limits.message, bareNewlines };
  }

  #message(reader: MessageReader): Step {
    const portion = reader.next(this.#inbox);
    switch (portion.kind) {
      case "more":
        return more;
      case "content":
        return { type: "content", bytes: portion.bytes };
      case "chunk":
        this.#mode = commands;
        if (!portion.problem) return this.#say(replies.chunkOk(portion.size));
        this.#say(replies.tooBig);
        return this.#forget(replies.tooBig);
      case "end":
        this.#mode = commands;
        return portion.problem ? this.#refuseContent(portion.problem) : this.#askForMessage();
    }
  }

  #skip(mode: Mode & { kind: "skip" }): Step {
    const octets = Math.min(mode.left, this.#inbox.size);
    this.#inbox.drop(octets);
    mode.left -= octets;
    if (mode.left > 0) return more;
    this.#mode = commands;
    return this.#error(mode.reply);
  }

  #askForMessage(): Event {
    return this.#ask({ about: "message" }, (answer) => {
      const all = (Array.isArray(answer) ? answer : [answer]) as readonly Reply[];
      for (const reply of all) this.#say(reply);
      if (all.some(isPositive)) this.#counted = { ...this.#counted, errors: 0, refused: 0, idle: 0 };
      this.#forget();
      return undefined;
    });
  }

  /** LMTP repeats it for each accepted RCPT (RFC 2033 §4.2, CASES L01). */
  #refuseContent(problem: ContentProblem): Event {
    const times = this.#options.protocol === "lmtp" ? this.#transaction.recipients : 1;
    const reply = problem === "too-big" ? replies.tooBig : replies.bareNewline;
    for (let i = 0; i < times; i++) this.#say(reply);
    return this.#forget(reply);
  }
}
