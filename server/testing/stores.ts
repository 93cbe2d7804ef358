/** What plugins remember, on a disk that can fail on demand. */
import type { Store } from "../plugin.ts";
import type { Stores } from "../store.ts";

/** How `host.store` behaves: `fail`: it rejects; `hang`: it answers nothing before this is set again. */
export type StoresAre = "work" | "fail" | "hang";

/** Stores over others, that do as they are told. */
export class FaultyStores implements Stores {
  readonly #stores: Stores;
  #are: StoresAre = "work";
  #waiting: (() => void)[] = [];

  constructor(stores: Stores) {
    this.#stores = stores;
  }

  get are(): StoresAre {
    return this.#are;
  }

  set are(are: StoresAre) {
    this.#are = are;
    for (const go of this.#waiting.splice(0)) go();
  }

  /** See {@linkcode Stores}. */
  for(name: string): Store {
    const store = this.#stores.for(name);
    const ready = async () => {
      while (this.#are === "hang") await new Promise<void>((resolve) => this.#waiting.push(resolve));
      if (this.#are === "fail") throw new Error("store: disk I/O error");
    };
    return {
      get: async (key) => (await ready(), await store.get(key)),
      set: async (key, value, how) => (await ready(), await store.set(key, value, how)),
      getOrSet: async (key, value, how) => (await ready(), await store.getOrSet(key, value, how)),
      increment: async (key, by, how) => (await ready(), await store.increment(key, by, how)),
      delete: async (key) => (await ready(), await store.delete(key)),
    };
  }

  /** See {@linkcode Stores}. */
  close(): Promise<void> {
    return this.#stores.close();
  }
}
