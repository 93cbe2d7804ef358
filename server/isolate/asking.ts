/** In the Worker: a question's way through the plugin's handlers. */
import type { ConnectCall, Credentials, DataCall, Hooks } from "../plugin.ts";
import type { Inside, Wishes } from "./inside.ts";
import type { Answers, MessageData, Question, Said } from "./messages.ts";
import type { Objects } from "./objects.ts";
import { addressOf, MessageViews, type RecipientView, Recorder, type TransactionView } from "./views.ts";

/** What any hook's handler may be given. */
export type AnyCall = ConnectCall & DataCall;

type Handler = (...args: unknown[]) => unknown;

/** One question's way through the handlers. */
export class Asking {
  constructor(
    readonly inside: Inside,
    readonly objects: Objects,
    readonly wishes: Wishes,
    readonly call: AnyCall,
    readonly id: number,
  ) {}

  async ask(question: Question): Promise<Answers> {
    const { objects } = this;
    switch (question.about) {
      case "connect":
        return { main: await this.#one("connect", objects.session(question.session)) };
      case "helo":
        return { main: await this.#one("helo", objects.session(question.session), question.name) };
      case "auth":
        return { main: await this.#one("auth", objects.session(question.session), credentialsOf(question)) };
      case "vrfy":
      case "expn":
        return { main: await this.#one(question.about, objects.session(question.session), question.text) };
      case "command": {
        const session = objects.session(question.session);
        return { main: await this.#one("command", session, question.verb, question.argument) };
      }
      case "resolve":
        return { main: await this.#one("resolve", addressOf(question.recipient)) };
      case "route": {
        const message = this.#message(question.message).sealed();
        return { main: await this.#one("route", addressOf(question.recipient), message) };
      }
      case "rcpt":
        return await this.#recipient(question);
      case "data":
        return await this.#data(question);
      case "deliver":
        return { main: await this.#deliver(question) };
      case "report":
        return { main: await this.#report(question) };
    }
  }

  async #recipient(
    { session, transaction, recipient, withMail }: Question & { about: "rcpt" },
  ): Promise<Answers> {
    const views = [this.objects.session(session), this.objects.transaction(transaction)] as const;
    const view = this.objects.recipient(recipient);
    let mail: Said | undefined;
    if (withMail) {
      mail = await this.#one("mail", ...views);
      if (!isSilence(mail)) return { mail };
    }
    const main = this.inside.handlers.rcpt
      ? await this.#edited("rcpt", views[1], [view], [views[0], view, views[1]])
      : undefined;
    const ends = main && ("error" in main || (!isSilence(main) && verdictOf(main) !== "accept"));
    const resolve = !ends && this.inside.handlers.resolve
      ? await this.#one("resolve", addressOf(recipient))
      : undefined;
    return { ...(mail && { mail }), ...(main && { main }), ...(resolve && { resolve }) };
  }

  async #data(
    { session, transaction, message, withData, each }: Question & { about: "data" },
  ): Promise<Answers> {
    const sessionView = this.objects.session(session);
    const view = this.objects.transaction(transaction);
    const messages = this.#message(message);
    let main: Said | undefined;
    if (withData) {
      const recorder = new Recorder();
      main = await this.#turn("data", recorder, view, view.recipients, [
        sessionView,
        messages.editable(recorder),
        view,
      ]);
      if (!isSilence(main)) return { main };
    }
    const answers = new Map<string, Said>();
    for (const recipient of view.recipients) {
      if (!each.includes(recipient.id)) continue;
      const recorder = new Recorder();
      const own = messages.fork().editable(recorder);
      const args = [sessionView, recipient, own, view];
      answers.set(recipient.id, await this.#turn("dataFor", recorder, view, view.recipients, args));
    }
    return { ...(main && { main }), each: answers };
  }

  async #deliver(
    { transport, message, recipients, attempt }: Question & { about: "deliver" },
  ): Promise<Said> {
    const targets = recipients.map((one) =>
      Object.assign(addressOf(one), { sender: one.sender, original: one.original })
    );
    const deliver = this.inside.delivers.get(transport)!;
    const call = { signal: this.call.signal, dryRun: this.call.dryRun, attempt };
    return await said(() => deliver(this.#message(message).sealed(), targets, call));
  }

  async #report({ hook, event }: Question & { about: "report" }): Promise<Said> {
    const handler = this.inside.handlers[hook] as Handler;
    const whole = {
      ...event.rest,
      ...(event.session && { session: this.objects.session(event.session) }),
      ...(event.recipient && { recipient: addressOf(event.recipient) }),
    };
    return await said(() => handler(whole));
  }

  #message(data: MessageData): MessageViews {
    return new MessageViews(
      data,
      (which, offset) =>
        this.wishes.make({ wish: "read", question: this.id, which, offset }, this.call.signal),
    );
  }

  #one(hook: keyof Hooks, ...args: readonly unknown[]): Promise<Said> {
    const handler = this.inside.handlers[hook] as Handler;
    return said(() => handler(...args, this.call));
  }

  #edited(
    hook: keyof Hooks,
    transaction: TransactionView,
    recipients: readonly RecipientView[],
    args: readonly unknown[],
  ): Promise<Said> {
    return this.#turn(hook, new Recorder(), transaction, recipients, args);
  }

  /** Asks a handler that may edit. */
  async #turn(
    hook: keyof Hooks,
    recorder: Recorder,
    transaction: TransactionView,
    recipients: readonly RecipientView[],
    args: readonly unknown[],
  ): Promise<Said> {
    const editable = [transaction, ...recipients];
    for (const one of editable) one.recorder = recorder;
    const answer = await this.#one(hook, ...args);
    recorder.close();
    for (const one of editable) if (one.recorder === recorder) one.recorder = undefined;
    return "error" in answer ? answer : { verdict: answer.verdict, edits: recorder.edits };
  }
}

async function said(handler: () => unknown): Promise<Said> {
  try {
    return { verdict: await handler(), edits: [] };
  } catch (error) {
    return { error: textOf(error) };
  }
}

const isSilence = (answer: Said) => "verdict" in answer && answer.verdict === undefined;

function verdictOf(answer: Said): unknown {
  return "verdict" in answer ? (answer.verdict as { verdict?: unknown } | null)?.verdict : undefined;
}

export function textOf(error: unknown): string {
  return error instanceof Error ? error.stack ?? error.message : `threw ${String(error)}`;
}

function credentialsOf(
  { credentials: { mechanism, user, secret, proof } }: Question & { about: "auth" },
): Credentials {
  const text = { reveal: () => secret! };
  switch (mechanism) {
    case "PLAIN":
    case "LOGIN":
      return { mechanism, user, password: text };
    case "XOAUTH2":
    case "OAUTHBEARER":
      return { mechanism, user, token: text };
    case "SCRAM-SHA-256":
    case "SCRAM-SHA-256-PLUS":
      return { mechanism, user, proof: proof! };
    case "EXTERNAL":
      return { mechanism, by: "proxy", user };
  }
}
