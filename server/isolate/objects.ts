/** In the Worker: the objects that handlers see, the same from hook to hook. */
import type { Json, Session } from "../plugin.ts";
import type { Known } from "./inside.ts";
import type { RecipientData, Ref, SessionData, TransactionData } from "./messages.ts";
import { addressOf, RecipientView, TransactionView } from "./views.ts";

/** An object that the server knows too: session and transaction keep what was told of them. */
export class Objects implements Known {
  readonly #byRef = new Map<Ref, object>();
  readonly #refs = new WeakMap<object, Ref>();
  readonly #told = new WeakMap<object, Map<string, Json>>();

  ref(of: object): Ref | undefined {
    return this.#refs.get(of);
  }

  told(of: object): Map<string, Json> | undefined {
    return this.#told.get(of);
  }

  forget(refs: readonly Ref[]): void {
    for (const ref of refs) this.#byRef.delete(ref);
  }

  session(data: SessionData): Session {
    const { ref, told, ...now } = data;
    const session = this.#object(ref, () => ({} as Session));
    Object.assign(session, now); // helo, tls and user come later than the session
    this.#told.set(session, new Map(told));
    return session;
  }

  transaction(data: TransactionData): TransactionView {
    const view = this.#object(data.ref, () => new TransactionView(data));
    view.sender = addressOf(data.sender);
    view.recipients = data.recipients.map((one) => this.recipient(one));
    this.#told.set(view, new Map(data.told));
    return view;
  }

  recipient(data: RecipientData): RecipientView {
    const view = this.#object(data.ref, () => new RecipientView(data));
    view.targets = data.targets;
    return view;
  }

  #object<T extends object>(ref: Ref, make: () => T): T {
    const known = this.#byRef.get(ref) as T | undefined;
    if (known) return known;
    const made = make();
    this.#byRef.set(ref, made);
    this.#refs.set(made, ref);
    return made;
  }
}
