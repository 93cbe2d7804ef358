/** Names for objects that are on both sides of a Worker, as long as they are on this one. */
import type { Ref } from "./messages.ts";

/** The objects of one plugin's Workers. */
export class Refs {
  readonly #refs = new WeakMap<object, Ref>();
  readonly #objects = new Map<Ref, WeakRef<object>>();
  readonly #collected = new FinalizationRegistry<Ref>((ref) => {
    this.#objects.delete(ref);
    this.#gone.push(ref);
  });
  #gone: Ref[] = [];
  #last = 0;

  /** The name of an object. */
  of(object: object): Ref {
    let ref = this.#refs.get(object);
    if (ref === undefined) {
      this.#refs.set(object, ref = ++this.#last);
      this.#objects.set(ref, new WeakRef(object));
      this.#collected.register(object, ref);
    }
    return ref;
  }

  /** The object of a name; `undefined` where it is no more. */
  object(ref: Ref): object | undefined {
    return this.#objects.get(ref)?.deref();
  }

  /** Those that are no more and were not told of yet. */
  takeGone(): readonly Ref[] {
    const gone = this.#gone;
    if (gone.length > 0) this.#gone = [];
    return gone;
  }
}
