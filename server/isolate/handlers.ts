/** The handlers that stand in the chain for an isolated plugin's: they make data of views, ask, and do the edits that come back. */
import { Buffer } from "node:buffer";
import type { EnvelopeRecipient } from "../envelope.ts";
import type {
  Address,
  AuthenticationResult,
  Call,
  ConnectCall,
  Credentials,
  DataCall,
  Deliver,
  Editable,
  Hooks,
  Incoming,
  Json,
  Message,
  OpenTransaction,
  Recipient,
  Session,
  Transaction,
} from "../plugin.ts";
import { readVerdict } from "../ruling.ts";
import type {
  AddressData,
  Answers,
  ContentData,
  CredentialsData,
  MessageData,
  Question,
  RecipientData,
  ReportData,
  Said,
  SessionData,
  TransactionData,
} from "./messages.ts";
import { listOf, verdictIn } from "./heard.ts";
import { along } from "./messages.ts";
import type { Refs } from "./refs.ts";

/** Asks the Worker, whichever is running. */
export type Ask = (question: Question, call?: Call, behind?: Behind) => Promise<Answers>;

/** What stands behind a question, of which the plugin may want more: a message to read on, a client to listen to. */
export interface Behind {
  readonly now?: Message;
  readonly received?: Message;
  readonly listen?: ConnectCall["listen"];
  readonly progress?: DataCall["progress"];
}

/** What a message's `dataFor` handlers have said ahead of being asked, of the message as it was then. */
interface Ahead {
  readonly fingerprint: string;
  readonly answers: ReadonlyMap<string, Said>;
}

/** Handlers for hooks that an isolated plugin has. */
export class IsolatedHandlers {
  readonly #ask: Ask;
  readonly #refs: Refs;
  readonly #needs:
    readonly (readonly [fact: string, read: (of: Session | Transaction) => Json | undefined])[];
  readonly #has: (hook: keyof Hooks) => boolean;
  /** What was said to MAIL; `pending`: it is asked with the first RCPT. */
  readonly #mail = new WeakMap<Transaction, "pending" | { readonly verdict: unknown }>();
  /** What `resolve` said of an address, when its RCPT was asked. */
  readonly #resolved = new WeakMap<Address, Said>();
  readonly #each = new WeakMap<Transaction, Ahead>();

  constructor(
    ask: Ask,
    refs: Refs,
    needs: readonly (readonly [string, (of: Session | Transaction) => Json | undefined])[],
    has: (hook: keyof Hooks) => boolean,
  ) {
    this.#ask = ask;
    this.#refs = refs;
    this.#needs = needs;
    this.#has = has;
  }

  /** The handlers, by hook. What is asked at MAIL is asked with RCPT, so there is one for that too. */
  handlers(): { [K in keyof Hooks]?: Hooks[K] } {
    const all = this.#all();
    const wanted = Object.entries(all).filter(([hook]) =>
      this.#has(hook as keyof Hooks) || (hook === "rcpt" && this.#has("mail"))
    );
    return Object.fromEntries(wanted);
  }

  deliver(transport: string): Deliver {
    return async (message, recipients, call) => {
      const targets = recipients.map((one) => ({
        ...addressData(one),
        sender: one.sender,
        original: one.original,
      }));
      const data = await messageData(message);
      const { attempt } = call;
      const question = { about: "deliver", transport, message: data, recipients: targets, attempt } as const;
      const { main } = await this.#ask(question, call, { now: message });
      return verdictOf(main) as Awaited<ReturnType<Deliver>>; // whoever carries checks outcomes, of any plugin's
    };
  }

  #all(): { [K in keyof Hooks]?: Hooks[K] } {
    const main = async (question: Question, call: Call) => verdictOf((await this.#ask(question, call)).main);
    const report = (hook: keyof Hooks) => async (event: object) => {
      verdictOf((await this.#ask({ about: "report", hook, event: this.#reportData(event) })).main);
    };
    // What they give is checked by the chain, as any plugin's.
    return {
      connect: async (session, call) => {
        const listen = (ms: number) => call.listen(ms);
        const question = { about: "connect", session: this.#session(session) } as const;
        return verdictOf((await this.#ask(question, call, { listen })).main);
      },
      helo: (session, name, call) => main({ about: "helo", session: this.#session(session), name }, call),
      auth: (session, credentials, call) =>
        main(
          { about: "auth", session: this.#session(session), credentials: credentialsData(credentials) },
          call,
        ),
      mail: (_session, transaction) => void this.#mail.set(transaction, "pending"),
      rcpt: (session, recipient, transaction, call) => this.#rcpt(session, recipient, transaction, call),
      resolve: (recipient, call) => this.#resolve(recipient, call),
      data: (session, message, transaction, call) => this.#data(session, message, transaction, call),
      dataFor: (session, recipient, message, transaction, call) =>
        this.#dataFor(session, recipient, message, transaction, call),
      route: async (recipient, message, call) => {
        const question = {
          about: "route",
          recipient: addressData(recipient),
          message: await messageData(message),
        };
        return verdictOf((await this.#ask(question as Question, call, { now: message })).main);
      },
      vrfy: (session, text, call) => main({ about: "vrfy", session: this.#session(session), text }, call),
      expn: (session, text, call) => main({ about: "expn", session: this.#session(session), text }, call),
      command: (session, verb, argument, call) =>
        main({ about: "command", session: this.#session(session), verb, argument }, call),
      disconnect: report("disconnect"),
      rejected: report("rejected"),
      delivered: report("delivered"),
      deferred: report("deferred"),
      bounced: report("bounced"),
    } as { [K in keyof Hooks]?: Hooks[K] };
  }

  async #rcpt(
    session: Session,
    recipient: Recipient,
    transaction: Transaction,
    call: Call,
  ): Promise<unknown> {
    const mail = this.#mail.get(transaction);
    if (mail !== undefined && mail !== "pending") return mail.verdict;
    if (mail === undefined && !this.#has("rcpt")) return undefined;
    const answers = await this.#ask({
      about: "rcpt",
      session: this.#session(session),
      transaction: this.#transaction(transaction),
      recipient: this.#recipient(recipient),
      withMail: mail === "pending",
    }, call);
    if (mail === "pending") {
      if (!answers.mail) throw new Error("it said nothing of MAIL, not even that it has no opinion");
      const verdict = readVerdict("mail", verdictOf(answers.mail));
      if (verdict) {
        this.#mail.set(transaction, { verdict });
        return verdict;
      }
      this.#mail.delete(transaction);
    }
    const { given } = recipient as EnvelopeRecipient;
    if (answers.resolve && given) this.#resolved.set(given, answers.resolve);
    if (!answers.main) return undefined;
    await this.#edit(answers.main, undefined, transaction, [recipient]);
    return verdictOf(answers.main);
  }

  async #resolve(recipient: Address, call: Call): Promise<unknown> {
    const ahead = this.#resolved.get(recipient);
    this.#resolved.delete(recipient);
    if (ahead) return verdictOf(ahead);
    return verdictOf((await this.#ask({ about: "resolve", recipient: addressData(recipient) }, call)).main);
  }

  async #data(
    session: Session,
    message: Editable,
    transaction: OpenTransaction,
    call: DataCall,
  ): Promise<unknown> {
    const each = this.#has("dataFor") ? transaction.recipients.map(({ id }) => id) : [];
    const answers = await this.#message(session, message, transaction, true, each, call);
    if (answers.main) await this.#edit(answers.main, message, transaction, transaction.recipients);
    if (answers.each) {
      this.#each.set(transaction, { fingerprint: fingerprint(message), answers: answers.each });
    }
    return verdictOf(answers.main);
  }

  async #dataFor(
    session: Session,
    recipient: Recipient,
    message: Incoming,
    transaction: Transaction,
    call: Call,
  ): Promise<unknown> {
    const ahead = this.#each.get(transaction);
    let said = ahead?.fingerprint === fingerprint(message) ? ahead.answers.get(recipient.id) : undefined;
    if (!said) {
      const ids = transaction.recipients.map(({ id }) => id);
      const each = ids.slice(Math.max(0, ids.indexOf(recipient.id)));
      const answers = (await this.#message(session, message, transaction, false, each, call)).each;
      if (answers) this.#each.set(transaction, { fingerprint: fingerprint(message), answers });
      said = answers?.get(recipient.id);
    }
    if (!said) throw new Error("it said nothing of this recipient, not even that it has no opinion");
    await this.#edit(said, message as Editable, transaction, transaction.recipients);
    return verdictOf(said);
  }

  async #message(
    session: Session,
    message: Incoming,
    transaction: Transaction,
    withData: boolean,
    each: readonly string[],
    call: Call & Partial<DataCall>,
  ): Promise<Answers> {
    const now = await messageData(message);
    const received = await contentData(message.asReceived);
    const data: MessageData = isSame(now.now, received) ? now : { ...now, received };
    const question: Question = {
      about: "data",
      session: this.#session(session),
      transaction: this.#transaction(transaction),
      message: data,
      withData,
      each,
    };
    return await this.#ask(question, call, {
      now: message,
      received: message.asReceived,
      progress: () => call.progress?.(),
    });
  }

  /** Does what the handler did to its copies. What it was not allowed to do throws here as it would have there. */
  async #edit(
    said: Said,
    message: Editable | undefined,
    transaction: Transaction,
    recipients: readonly Recipient[],
  ): Promise<void> {
    if ("error" in said) return;
    for (const { on, edit, args } of listOf(said.edits)) {
      if (on === "message" && message) await editMessage(message, edit, args);
      else if (on === "transaction") await editTransaction(transaction as OpenTransaction, edit, args);
      else if (typeof on === "object" && edit === "prependHeader") {
        const recipient = recipients.find(({ id }) => id === on.recipient);
        recipient?.prependHeader(String(args[0]), String(args[1]));
      } else throw new TypeError(`${edit} is no edit here`);
    }
  }

  // ── From views to data ───────────────────────────────────────────────────────────────────────────

  #told(of: Session | Transaction): [string, Json][] {
    return this.#needs.flatMap(([fact, read]) => {
      const value = read(of);
      return value === undefined ? [] : [[fact, value] as [string, Json]];
    });
  }

  #session(session: Session): SessionData {
    const { id, role, protocol, remote, helo, trusted, tls, user } = session;
    const ref = this.#refs.of(session);
    return { ref, id, role, protocol, remote, helo, trusted, tls, user, told: this.#told(session) };
  }

  #transaction(transaction: Transaction): TransactionData {
    return {
      ref: this.#refs.of(transaction),
      id: transaction.id,
      sender: addressData(transaction.sender),
      recipients: transaction.recipients.map((one) => this.#recipient(one)),
      params: transaction.params,
      told: this.#told(transaction),
    };
  }

  #recipient(recipient: Recipient): RecipientData {
    const { id, params, targets } = recipient;
    return { ...addressData(recipient), ref: this.#refs.of(recipient), id, params, targets };
  }

  #reportData(event: object): ReportData {
    const { session, recipient, ...rest } = event as { session?: Session; recipient?: Address };
    return {
      rest,
      ...(session && { session: this.#session(session) }),
      ...(recipient && { recipient: addressData(recipient) }),
    };
  }
}

function addressData({ address, local, domain }: Address): AddressData {
  return { address, local, domain };
}

function credentialsData(credentials: Credentials): CredentialsData {
  const { mechanism, user } = credentials;
  const secret = "password" in credentials
    ? credentials.password
    : "token" in credentials
    ? credentials.token
    : undefined;
  const proof = "proof" in credentials ? credentials.proof : undefined;
  return { mechanism, user, secret: secret?.reveal(), proof };
}

async function messageData(message: Message): Promise<MessageData> {
  return { id: message.id, now: await contentData(message) };
}

async function contentData(message: Message): Promise<ContentData> {
  const { size } = message;
  if (size <= along) return { size, head: await message.bytes(along) };
  const head = new Uint8Array(along);
  let filled = 0;
  for await (const piece of message.stream()) {
    const part = piece.subarray(0, along - filled);
    head.set(part, filled);
    filled += part.length;
    if (filled === along) break;
  }
  return { size, head };
}

/** Whether nobody has edited it: then one of both crosses. */
function isSame(one: ContentData, other: ContentData): boolean {
  return one.size === other.size && one.head.length === one.size &&
    Buffer.compare(one.head, other.head) === 0;
}

/** Tells whether somebody has edited a message since. */
function fingerprint(message: Message): string {
  return JSON.stringify([message.size, ...message.headers]);
}

/** What the handler returned. @throws {Error} what it has thrown. */
function verdictOf(said: Said | undefined): unknown {
  if (!said || !("error" in said)) return verdictIn(said?.verdict);
  const text = String(said.error);
  const error = new Error(text.split("\n", 1)[0]);
  error.stack = text; // with the places in the plugin's files
  throw error;
}

async function editMessage(message: Editable, edit: string, args: readonly unknown[]): Promise<void> {
  const [first, second, third] = args;
  const which = (index: unknown) => index === undefined ? undefined : Number(index);
  switch (edit) {
    case "prependHeader":
      return message.prependHeader(String(first), String(second));
    case "insertHeader":
      return message.insertHeader(Number(first), String(second), String(third));
    case "replaceHeader":
      return message.replaceHeader(String(first), String(second), which(third));
    case "removeHeader":
      return message.removeHeader(String(first), which(second));
    case "addResult":
      return message.addResult(first as AuthenticationResult); // checked there
    case "replaceBody":
      return await message.replaceBody(first as string | Uint8Array<ArrayBuffer>); // and this
    default:
      throw new TypeError(`${edit} is no edit of a message`);
  }
}

async function editTransaction(
  transaction: OpenTransaction,
  edit: string,
  args: readonly unknown[],
): Promise<void> {
  switch (edit) {
    case "setSender":
      return transaction.setSender(String(args[0]));
    case "addRecipient":
      return await transaction.addRecipient(String(args[0]));
    case "removeRecipient":
      return transaction.removeRecipient(String(args[0]));
    case "hold":
      return transaction.hold(String(args[0]));
    default:
      throw new TypeError(`${edit} is no edit of a transaction`);
  }
}
